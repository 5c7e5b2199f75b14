"""The charts of a run: those of training, and those of the stages' facts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnrecipe.core.report import Report
from nnrecipe.report.curves import Metrics, training_plots
from nnrecipe.report.drawing import (
    BAD,
    GOOD,
    INK,
    TRAIN,
    Plot,
    drawable,
    log_axis,
    sketch,
    wide,
)
from nnrecipe.report.experiments import experiment_plots
from nnrecipe.report.landmarks import Landmarks
from nnrecipe.report.search_plots import search_plots
from nnrecipe.report.signals import signal_plots
from nnrecipe.report.store import replace_file
from nnrecipe.report.wording import clean, counted, number, sentence, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTS_FOLDER = "plots"
BANDS = {"too low": INK, "good": GOOD, "unstable": BAD, "exploding": BAD}
MOST_WRITTEN_CELLS = 12
"""A confusion matrix of more classes shows shades without figures."""
DRAWN_FACTS = frozenset(
    {"losses", "confusion", "classes", "histograms", "compared", "scales", "confusions"}
)
"""Facts that a chart says all of."""


def draw_plots(report: Report, metrics: Metrics) -> list[Plot]:
    """Every chart that the report and the metrics have the figures for, in the recipe's order."""
    plots: list[Plot] = []
    for stage in report.stages:
        if stage.stage == "init":
            plots += signal_plots(stage.facts)
        elif stage.stage == "overfit":
            plots += overfit_plots(stage.facts)
        elif stage.stage == "lr_probe":
            plots += ladder_plots(stage.facts)
        elif stage.stage == "search":
            plots += search_plots(stage.facts)
        elif stage.stage == "evaluate":
            plots += confusion_plots(stage.facts)
        elif stage.stage == "diagnosis":
            plots += experiment_plots(stage.facts)
    return [*plots, *training_plots(metrics, Landmarks.of(report))]


def save_plots(plots: list[Plot], folder: Path) -> None:
    """Write each chart into `plots/` of the run folder."""
    for plot in plots:
        replace_file(folder / PLOTS_FOLDER / f"{plot.name}.svg", plot.svg)


def overfit_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """The loss on the tiny subset, by step; the fact `losses` holds it."""
    losses = drawable(facts.get("losses", []))
    if not losses:
        return

    def paint(axes: Axes) -> None:
        dot = "o" if len(losses) < 3 else None
        axes.plot(range(1, len(losses) + 1), losses, color=TRAIN, marker=dot, markersize=4)
        if wide(losses, ratio=20):
            log_axis(axes, of="y")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")

    steps = counted(len(losses), "step")
    first, last = number(losses[0]), number(losses[-1])
    caption = f"Loss on the tiny subset: {first} at first, {last} after {steps}."
    yield Plot("overfit", "overfit", caption, sketch(paint))


def ladder_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """The loss at the end of each rung of the learning-rate ladder; the fact `ladder` holds it.

    `suggested` and `declared` are the rates that are marked, where they are known.
    """
    rungs = sorted(facts.get("ladder", []), key=lambda rung: float(rung["lr"]))
    if not rungs:
        return
    marks = {name: facts.get(name) for name in ("suggested", "declared")}
    lowest, highest = float(rungs[0]["lr"]), float(rungs[-1]["lr"])
    known = {
        name: rate for name, rate in marks.items() if rate is not None and lowest <= rate <= highest
    }
    after = f"after {facts['steps']} steps" if "steps" in facts else "after a few steps"
    caption = f"Loss {after} at each learning rate, always from the same initial weights."
    if known:
        caption += f" Marked: {', '.join(f'{name} {number(known[name])}' for name in known)}."
    drawn = sketch(lambda axes: _paint_ladder(axes, rungs, known), size=(4.6, 2.9))
    yield Plot("lr_ladder", "lr_probe", caption, drawn)


def _paint_ladder(axes: Axes, rungs: list[dict[str, Any]], marks: dict[str, float]) -> None:
    rates = drawable([rung["lr"] for rung in rungs])
    start = drawable([rungs[0]["start_loss"]])[0]
    ends = drawable([rung["end_loss"] for rung in rungs])
    log_axis(axes, of="x")
    _paint_bands(axes, rates, [str(rung["band"]) for rung in rungs])
    axes.axhline(start, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "start", (0, start), (3, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=8,
    )  # fmt: skip
    axes.plot(rates, ends, color=TRAIN, marker="o", markersize=3.5)
    top = _limit_losses(axes, start, ends)
    beyond = [rate for rate, end in zip(rates, ends, strict=True) if not end <= top]
    axes.plot(
        beyond, [0.97] * len(beyond), marker="^", color=BAD, linestyle="none", markersize=5,
        transform=axes.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
    _paint_marks(axes, marks)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(visible=False, axis="x")


def _paint_marks(axes: Axes, marks: dict[str, float]) -> None:
    for name, rate in marks.items():
        colour, line = (GOOD, "-") if name == "suggested" else (INK, ":")
        axes.axvline(rate, color=colour, linewidth=1.4, linestyle=line)
        axes.annotate(
            name, (rate, 0), (-3, 4), xycoords=("data", "axes fraction"), rotation=90,
            textcoords="offset points", fontsize=8, ha="right", color=colour,
        )  # fmt: skip


def _limit_losses(axes: Axes, start: float, ends: list[float]) -> float:
    """Show the losses up to half above the start, so that a diverged one hides no other."""
    worth_seeing = [end for end in ends if end <= start + 0.5 * abs(start)]
    shown = [loss for loss in (start, *worth_seeing) if not math.isnan(loss)] or [0.0, 1.0]
    low, high = min(shown), max(shown)
    margin = 0.12 * (high - low) or 0.1 * abs(low) or 1.0
    axes.set_ylim(low - margin, high + 1.5 * margin)
    return high


def _paint_bands(axes: Axes, rates: list[float], bands: list[str]) -> None:
    edges = [
        rates[0] / 1.6,
        *(math.sqrt(a * b) for a, b in pairwise(rates)),
        rates[-1] * 1.6,
    ]
    for band, places in groupby(range(len(bands)), key=bands.__getitem__):
        first, *rest = places
        left, right = edges[first], edges[(rest or [first])[-1] + 1]
        colour = BANDS.get(band, INK)
        axes.axvspan(left, right, color=colour, alpha=0.12, linewidth=0)
        axes.annotate(
            clean(band, limit=16), (math.sqrt(left * right), 1), (0, 4), fontsize=8, color=colour,
            xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
        )  # fmt: skip
    axes.set_xlim(edges[0], edges[-1])


def confusion_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """How often each class (row) was taken for each (column); the fact `confusion` holds it."""
    for task, own in facts.get("confusions", {}).items():
        for plot in confusion_plots(own):
            name, caption = f"{plot.name}_{task}", f"{sentence(spoken(task))}. {plot.caption}"
            yield replace(plot, name=name, caption=caption)
    counts = facts.get("confusion")
    if not counts:
        return
    classes = facts.get("classes") or range(len(counts))
    names = [clean(str(name), limit=14) for name in classes]
    side = 4.6 if len(counts) <= MOST_WRITTEN_CELLS else 5.4
    drawn = sketch(lambda axes: _paint_confusion(axes, counts, names), size=(side, 0.9 * side))
    caption = "Confusion: rows are true classes, columns are predicted; shades are shares of a row."
    yield Plot("confusion", "evaluate", caption, drawn)


def _paint_confusion(axes: Axes, counts: list[list[int]], names: list[str]) -> None:
    import numpy as np
    from matplotlib.colors import to_rgba

    table = np.asarray(counts, dtype=float)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cells = np.empty((*table.shape, 4))
    cells[:] = to_rgba(TRAIN)
    cells[..., 3] = np.where(shares > 0, 0.08 + 0.92 * shares**0.6, 0)
    axes.imshow(cells, interpolation="nearest", aspect="equal")
    written = len(names) <= MOST_WRITTEN_CELLS
    if written:
        for row, column in np.argwhere(table > 0):
            colour = "white" if cells[row, column, 3] > 0.6 else INK
            axes.text(
                column, row, f"{table[row, column]:.0f}", ha="center", va="center",
                fontsize=7.5, color=colour,
            )  # fmt: skip
    places = range(0, len(names), 1 if len(names) <= 25 else math.ceil(len(names) / 20))
    axes.set_xticks(
        places, [names[place] for place in places], rotation=90 if max(map(len, names)) > 2 else 0
    )
    axes.set_yticks(places, [names[place] for place in places])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
