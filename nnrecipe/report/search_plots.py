"""Charts of a search: its trials in the plane and on parallel axes, and what matters most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnrecipe.report.drawing import BAD, GOOD, INK, TRAIN, Plot, drawable, log_axis, power, sketch
from nnrecipe.report.wording import clean, number, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 0.04
"""What is left free beyond the ends of a parallel axis, as a share of its height."""
SHADES = "viridis"


@dataclass(frozen=True)
class Trials:
    """The rows of the fact `all_trials`: settings by name, and the figure; NaN where there is none.

    `scales` says of each setting whether it is `log`, `linear` or a `choice`.
    """

    rows: Sequence[dict[str, Any]]
    scales: dict[str, str]
    figure: str

    @property
    def scores(self) -> list[float]:
        """The figure of each trial that ended as it should."""
        return drawable(
            [row.get(self.figure) if row["ended"] == "finished" else None for row in self.rows]
        )

    @property
    def smaller_is_better(self) -> bool:
        """Whether the figure is a loss."""
        return self.figure.endswith("loss")

    @property
    def best(self) -> int | None:
        """The index of the best trial."""
        sign = -1 if self.smaller_is_better else 1
        known = [index for index, score in enumerate(self.scores) if not math.isnan(score)]
        return max(known, key=lambda index: sign * self.scores[index], default=None)

    def places(self, name: str) -> list[float]:
        """Where each trial stands on a setting's axis: its logarithm, value or choice's number."""
        values = [row[name] for row in self.rows]
        if self.scales[name] == "choice":
            return [float(self.choices(name).index(str(value))) for value in values]
        known = drawable(values)
        return [math.log10(value) for value in known] if self.scales[name] == "log" else known

    def choices(self, name: str) -> list[str]:
        """The values of a choice that were drawn, in the order of their first trial."""
        return list(dict.fromkeys(str(row[name]) for row in self.rows))

    def label(self, name: str, place: float) -> str:
        """What stands at a place of an axis."""
        if self.scales[name] == "choice":
            return clean(self.choices(name)[round(place)].strip('"'), limit=14)
        return power(float(f"{10**place:.2g}")) if self.scales[name] == "log" else number(place)


def search_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """All charts that the facts of a search have the figures for."""
    rows, scales = facts.get("all_trials"), facts.get("scales")
    if not rows or not scales:
        return
    trials = Trials(rows, dict(scales), str(facts["figure"]))
    importance = {
        str(name): float(share) for name, share in (facts.get("importance") or {}).items()
    }
    if importance:
        yield _importance(importance, trials.figure)
    yield from _plane(trials, importance)
    if len(rows) > 1:
        yield _parallel(trials)


def _importance(importance: dict[str, float], figure: str) -> Plot:
    names = sorted(importance, key=importance.__getitem__)

    def paint(axes: Axes) -> None:
        shares = [importance[name] for name in names]
        axes.barh([clean(name, limit=24) for name in names], shares, color=TRAIN, height=0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the variance")
        axes.grid(visible=False, axis="y")

    most = names[-1]
    caption = f"What makes the trials' {spoken(figure)} differ (fANOVA): most of all {most}."
    height = min(4.5, 0.9 + 0.35 * len(names))
    return Plot("search_importance", "search", caption, sketch(paint, size=(4.6, height)))


def _plane(trials: Trials, importance: dict[str, float]) -> Iterator[Plot]:
    """The trials in the plane of the two settings that matter most."""
    ranges = [name for name, scale in trials.scales.items() if scale != "choice"]
    ranges.sort(key=lambda name: -importance.get(name, 0.0))
    if not ranges:
        return
    across, up = ranges[0], (ranges[1] if len(ranges) > 1 else None)
    shaded = up is not None
    about = f"{up} and {across}" if shaded else f"{spoken(trials.figure)} by {across}"
    caption = f"Each trial: {about}. A cross has lost its loss; the ring is the best."
    if shaded:
        caption += " The ticks at the edges are the values that each setting was tried at."
    drawn = sketch(lambda axes: _paint_plane(axes, trials, across, up), size=(4.6, 3.4))
    yield Plot("search_plane", "search", caption, drawn)


def _paint_plane(axes: Axes, trials: Trials, across: str, up: str | None) -> None:
    scores = trials.scores
    x = drawable([row[across] for row in trials.rows])
    y = scores if up is None else drawable([row[up] for row in trials.rows])
    known = [index for index, score in enumerate(scores) if not math.isnan(score)]
    lost = [index for index in range(len(x)) if index not in known]
    dots = axes.scatter(
        [x[i] for i in known], [y[i] for i in known], c=[scores[i] for i in known], s=22,
        cmap=SHADES + ("_r" if trials.smaller_is_better else ""), linewidths=0,
    )  # fmt: skip
    if up is not None:
        axes.scatter(
            [x[i] for i in lost], [y[i] for i in lost], marker="x", s=16, color=BAD, linewidths=0.9
        )
        if known:
            bar = axes.figure.colorbar(dots, ax=axes)
            bar.set_label(spoken(trials.figure))
            bar.outline.set_visible(False)
        _paint_ticks(axes, x, y)
    if (best := trials.best) is not None:
        axes.scatter([x[best]], [y[best]], s=90, facecolors="none", edgecolors=GOOD, linewidths=1.6)
    for name, axis in ((across, "x"), (up, "y")):
        if name is not None and trials.scales[name] == "log":
            log_axis(axes, of=axis)
    axes.set_xlabel(clean(across, limit=40))
    axes.set_ylabel(clean(up, limit=40) if up is not None else spoken(trials.figure))


def _paint_ticks(axes: Axes, x: list[float], y: list[float]) -> None:
    """A rug: where grid search tries few values again and again, random search tries many."""
    style: Any = {"marker": "|", "color": INK, "linestyle": "none", "markersize": 6, "alpha": 0.7}
    axes.plot(x, [0.0] * len(x), transform=axes.get_xaxis_transform(), clip_on=False, **style)
    style["marker"] = "_"
    axes.plot([0.0] * len(y), y, transform=axes.get_yaxis_transform(), clip_on=False, **style)


def _parallel(trials: Trials) -> Plot:
    """All trials as lines across one axis for each setting, and one for the figure."""
    caption = (
        f"Every trial as a line through its settings to its {spoken(trials.figure)}; "
        "the brighter the better, thin red lines have lost their loss."
    )
    drawn = sketch(lambda axes: _paint_parallel(axes, trials), size=(9.6, 3.2))
    return Plot("search_parallel", "search", caption, drawn, broad=True)


def _paint_parallel(axes: Axes, trials: Trials) -> None:
    import matplotlib as mpl

    scores = trials.scores
    known = [score for score in scores if not math.isnan(score)] or [0.0]
    low, high = min(known), max(known)
    names = list(trials.scales)
    columns = [_scaled(trials.places(name)) for name in names]
    heights = _scaled(scores)
    shades = mpl.colormaps[SHADES]
    flip = trials.smaller_is_better
    order = sorted(
        range(len(scores)), key=lambda i: (not math.isnan(scores[i]), (-1) ** flip * scores[i])
    )
    for index in order:
        points = [column[index] for column in columns]
        if math.isnan(scores[index]):
            axes.plot(range(len(points)), points, color=BAD, linewidth=0.5, alpha=0.35)
            continue
        share = (scores[index] - low) / (high - low or 1.0)
        colour = shades(1 - share if flip else share)
        axes.plot(range(len(points) + 1), [*points, heights[index]], color=colour, alpha=0.8)
    for place, name in enumerate(names):
        _label_axis(axes, place, name, _ends(trials, name))
    ends = [(0.0, number(low)), (1.0, number(high))] if high > low else [(0.5, number(low))]
    _label_axis(axes, len(names), spoken(trials.figure), ends)
    axes.set_ylim(-MARGIN, 1 + MARGIN)
    axes.set_xlim(-0.15, len(names) + 0.15)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _scaled(places: Sequence[float]) -> list[float]:
    """The places between 0 and 1; all in the middle where they are the same."""
    known = [place for place in places if not math.isnan(place)]
    if not known or max(known) == min(known):
        return [0.5] * len(places)
    low, high = min(known), max(known)
    return [(place - low) / (high - low) for place in places]


def _ends(trials: Trials, name: str) -> list[tuple[float, str]]:
    """The labels of an axis with their heights: its ends, or all its choices."""
    places = trials.places(name)
    if trials.scales[name] == "choice" or min(places) == max(places):
        shown = sorted(set(places))
    else:
        shown = [min(places), max(places)]
    return [(h, trials.label(name, p)) for p, h in zip(shown, _scaled(shown), strict=True)]


def _label_axis(axes: Axes, place: int, name: str, labels: list[tuple[float, str]]) -> None:
    axes.axvline(place, color=INK, linewidth=0.8)
    axes.annotate(
        clean(name, limit=24), (place, 1), (0, 12), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="center", fontsize=9,
    )  # fmt: skip
    for height, text in labels:
        axes.annotate(text, (place, height), (4, 2), textcoords="offset points", fontsize=8)
