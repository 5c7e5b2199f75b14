"""The picture of the diagnosis' experiments: what a training reaches without each suspect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nnrecipe.report.drawing import BAD, GOOD, INK, Plot, drawable, sketch
from nnrecipe.report.wording import clean, number, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"helps": GOOD, "worse": BAD}
LONGEST_LABEL = 34
SKILL = "skill (0: guessing, 1: all right)"


def experiment_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """Before and after of each of the fact `experiments`, the one that helps most on top."""
    rows = [row for row in facts.get("experiments") or () if isinstance(row, dict)]
    if not rows:
        return
    before, after = (drawable([row.get(key) for row in rows]) for key in ("before", "after"))
    ends = list(zip(rows, before, after, strict=True))
    ends.sort(key=lambda end: _gain(end[1], end[2]))
    helped = sum(row.get("verdict") == "helps" for row in rows)
    caption = (
        "A short training as the recipe has it (hollow), and again with one suspect removed "
        f"(filled). {_count(helped, len(rows))}"
    )
    size = (4.6, 0.75 + 0.3 * len(rows))
    drawn = sketch(lambda axes: _paint(axes, ends), size=size)
    yield Plot("experiments", "diagnosis", caption, drawn)


def _gain(before: float, after: float) -> float:
    return -math.inf if math.isnan(after - before) else after - before


def _count(helped: int, made: int) -> str:
    if not helped:
        return "None of them helps."
    return "It helps." if made == 1 else f"{helped} of {made} help{'s' if helped == 1 else ''}."


def _paint(axes: Axes, ends: list[tuple[dict[str, Any], float, float]]) -> None:
    known = [figure for _, *pair in ends for figure in pair if not math.isnan(figure)]
    baseline = next((before for _, before, _ in ends if not math.isnan(before)), None)
    if baseline is not None:
        axes.axvline(baseline, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for place, (row, before, after) in enumerate(ends):
        colour = COLOURS.get(str(row.get("verdict")), INK)
        axes.plot([before, after], [place, place], color=colour, linewidth=2.2)
        axes.plot([before], [place], marker="o", color=colour, markerfacecolor="none", markersize=5)
        axes.plot([after], [place], marker="o", color=colour, markersize=5.5)
        if not math.isnan(after):
            right = before if before > after else after
            axes.annotate(
                number(round(after, 2)), (right, place), (7, 0), textcoords="offset points",
                fontsize=8, color=colour, va="center",
            )  # fmt: skip
    labels = [clean(str(row.get("experiment", "")), limit=LONGEST_LABEL) for row, *_ in ends]
    axes.set_yticks(range(len(ends)), labels)
    axes.set_ylim(-0.6, len(ends) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    figure = clean(str(ends[0][0].get("figure", "")))
    axes.set_xlabel(SKILL if figure == "skill" else spoken(figure))
    low, high = min(known, default=0.0), max(known, default=1.0)
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    margin = 0.09 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + 1.4 * margin)
