"""A comparison in one picture: how the configs got better over the epochs, and how they ended."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from nnrecipe.core.errors import UserError
from nnrecipe.report.comparison import Comparison, Row
from nnrecipe.report.comparison_table import figure, in_percent, title
from nnrecipe.report.drawing import INK, STYLE, drawable, log_axis, wide
from nnrecipe.report.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_FILE = "comparison.png"
FORMATS = (".png", ".svg", ".pdf")
COLOURS = (
    "#3b7dd8", "#e07b39", "#2f9e62", "#b45bcf", "#b8901f",
    "#d64545", "#2aa3b5", "#8c6a5a", "#d66aa0", "#6b7280",
)  # fmt: skip
ROUNDS = (("solid", "o"), ((0, (4, 2)), "s"), ((0, (1, 1.5)), "D"), ((0, (5, 1.5, 1, 1.5)), "^"))
"""Dashes and marker for each round through the colours."""

DARK = "#2b2f36"
LONGEST_NAME = 44
MOST_BANDS = 5
BELOW = -8
"""Where single runs stand under their mean, in points."""
WIDTH, LINE, MARGINS = 11.0, 0.3, 1.2  # inches
HEIGHTS = (3.6, 90.0)  # inches; far higher than any screen, and what image formats can hold


def check_format(file: Path) -> None:
    """Raise `UserError` if the file's name is no picture's."""
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"--output {file}: no kind of picture: end it in {', '.join(FORMATS)}")


def draw_comparison(comparison: Comparison, file: Path) -> bool:
    """Draw the first metric: validation by epoch on the left, the end with its spread on the right.

    Returns whether there was anything to draw. Raises `UserError` if the file can't be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not any(row.spread(name) for row in comparison.rows for name in comparison.metrics[:1]):
        return False
    white = {"figure.facecolor": "white", "savefig.facecolor": "white", "text.color": DARK}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context(STYLE | white):
        warnings.simplefilter("ignore")  # a glyph that a font lacks is no reason to fail
        height = min(max(HEIGHTS[0], MARGINS + LINE * len(comparison.rows)), HEIGHTS[1])
        page = Figure(figsize=(WIDTH, height), layout="constrained", dpi=150)
        _paint(page, comparison)
        page.savefig(buffer, format=file.suffix[1:].lower())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
    except OSError as error:
        raise UserError(f"--output {file}: can't be written: {error.strerror}") from error
    return True


def _paint(page: Figure, comparison: Comparison) -> None:
    name, curves = _curves(comparison)
    ends = [bool(row.values(comparison.metrics[0])) for row in comparison.rows]
    measured = [place for place, ended in enumerate(ends) if ended or place in curves]
    looks = {place: _look(number) for number, place in enumerate(measured)}
    if not curves:
        _paint_ends(page, page.add_subplot(), comparison, looks=looks)
        return
    left, right = page.subplots(1, 2, width_ratios=(1.0, 1.15))
    _paint_curves(left, curves, name=name, looks=looks)
    _paint_ends(page, right, comparison, looks=looks)


Curve = dict[float, list[float]]
"""The values of one config's runs, by epoch."""
Look = dict[str, Any]
"""A row's colour, dashes and marker, the same in both halves."""


def _look(number: int) -> Look:
    rounds, colour = divmod(number, len(COLOURS))
    dashes, marker = ROUNDS[rounds % len(ROUNDS)]
    return {"color": COLOURS[colour], "linestyle": dashes, "marker": marker}


def _curves(comparison: Comparison) -> tuple[str, dict[int, Curve]]:
    """The validation metric that is the first metric's, or a loss, by the place of the row."""
    score = comparison.metrics[0].partition("_")[2]
    for name in (f"val_{score}", "val_loss", "train_loss"):
        curves = {place: _curve(row, name) for place, row in enumerate(comparison.rows)}
        drawn = {place: curve for place, curve in curves.items() if curve}
        if drawn:
            return name, drawn
    return "", {}


def _curve(row: Row, name: str) -> Curve:
    curve: Curve = {}
    for attempt in row.attempts:
        for line in attempt.history:
            epoch, value = drawable([line["epoch"], line.get(name)])
            if not (math.isnan(epoch) or math.isnan(value)):
                curve.setdefault(epoch, []).append(value)
    return dict(sorted(curve.items()))


def _paint_curves(
    axes: Axes, curves: Mapping[int, Curve], *, name: str, looks: Mapping[int, Look]
) -> None:
    """The mean over the runs, in a band of one standard deviation where there are few."""
    from matplotlib.ticker import MaxNLocator

    scale = 100 if in_percent(name) else 1
    for place, curve in curves.items():
        middle = [scale * mean(values) for values in curve.values()]
        axes.plot(list(curve), middle, **looks[place], markevery=[-1], markersize=5)
        spread = [scale * stdev(v) if len(v) > 1 else 0.0 for v in curve.values()]
        if any(spread) and len(curves) <= MOST_BANDS:
            low, high = (
                [m + sign * s for m, s in zip(middle, spread, strict=True)] for sign in (-1, 1)
            )
            axes.fill_between(list(curve), low, high, color=looks[place]["color"], alpha=0.15, lw=0)
    figures = [v for curve in curves.values() for values in curve.values() for v in values]
    if name.endswith("loss") and wide(figures, ratio=50):
        log_axis(axes, of="y")
    axes.set_xlabel("epoch")
    axes.set_title(title(name), loc="left", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))


def _paint_ends(
    page: Figure, axes: Axes, comparison: Comparison, *, looks: Mapping[int, Look]
) -> None:
    """A line for each config: the mean of its runs with one standard deviation, and each run."""
    from matplotlib.transforms import offset_copy

    name, rows = comparison.metrics[0], comparison.rows
    below = offset_copy(axes.transData, page, y=BELOW, units="points")
    for place, row in enumerate(rows):
        _write_end(axes, comparison, place)
        values = [(100 if in_percent(name) else 1) * value for value in drawable(row.values(name))]
        known = [value for value in values if not math.isnan(value)]
        if known:
            look = looks[place] | {"linestyle": "none"}
            spread = stdev(known) if len(known) > 1 else None
            axes.errorbar(mean(known), place, xerr=spread, **look, markersize=7, elinewidth=2)
        if len(known) > 1:
            fine: Look = {"markersize": 4, "alpha": 0.5, "markeredgewidth": 0, "transform": below}
            axes.plot(known, [place] * len(known), **look, **fine)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_label(comparison, row) for row in rows])
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set_color(DARK if row.values(name) else INK)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    keys = f", by {', '.join(comparison.telling)}" if comparison.telling else ""
    axes.set_title(clean(f"{title(name)}{keys}", limit=70), loc="left", fontsize=10)
    if any(len(row.values(name)) > 1 for row in rows):
        axes.set_xlabel("mean ± standard deviation; small: single runs")


def _write_end(axes: Axes, comparison: Comparison, place: int) -> None:
    """The figure, or how the runs ended without one, to the right of a row."""
    name, row = comparison.metrics[0], comparison.rows[place]
    words = figure(name, row.spread(name)) if row.values(name) else row.outcome
    axes.annotate(
        clean(words, limit=30), (1, place), (6, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=8.5,
        color=DARK if row.values(name) else INK,
        fontweight="bold" if place == comparison.best else "normal",
    )  # fmt: skip


def _label(comparison: Comparison, row: Row) -> str:
    return clean(comparison.name(row, keys=False), limit=LONGEST_NAME)
