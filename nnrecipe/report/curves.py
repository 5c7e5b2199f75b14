"""Charts of training, drawn from the lines of `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnrecipe.report.drawing import (
    TRAIN,
    VAL,
    Plot,
    drawable,
    legend_above,
    log_axis,
    sketch,
    wide,
)
from nnrecipe.report.landmarks import Landmarks
from nnrecipe.report.layer_curves import LAYER_FIGURES, TASK_FIGURES, layer_plots
from nnrecipe.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Sequence[dict[str, Any]]
Series = dict[str, list[float]]
COLOURS = {"train": TRAIN, "validation": VAL}


def training_plots(metrics: Metrics, landmarks: Landmarks | None = None) -> Iterator[Plot]:
    """Loss, accuracy and learning rate by epoch, update ratios by step: those that were logged."""
    landmarks = landmarks or Landmarks()
    by_epoch = {line["epoch"]: line for line in metrics if "epoch" in line}  # the latest counts
    epochs = sorted(by_epoch)
    lines = [by_epoch[epoch] for epoch in epochs]
    losses = _series(lines, {"train": "train_loss", "validation": "val_loss"})
    if _any(losses):
        marks = landmarks.caption(_figures(losses))
        caption = f"Loss by epoch.{_best(epochs, losses, min)}{_not_finite(lines)}{marks}"
        drawn = sketch(lambda axes: _paint(axes, epochs, losses, "loss", landmarks))
        yield Plot("loss", "train", caption, drawn)
    hits = _series(lines, {"train": "train_accuracy", "validation": "val_accuracy"})
    if _any(hits):
        caption = f"Accuracy by epoch.{_best(epochs, hits, max)}"
        drawn = sketch(lambda axes: _paint(axes, epochs, hits, "accuracy", landmarks))
        yield Plot("accuracy", "train", caption, drawn)
    rates = _series(lines, {"train": "lr"})
    if len(set(rates.get("train", []))) > 1:
        drawn = sketch(lambda axes: _paint(axes, epochs, rates, "learning rate"))
        yield Plot("lr", "train", "Learning rate by epoch.", drawn)
    for figure in (*TASK_FIGURES, *LAYER_FIGURES):
        yield from layer_plots(metrics, figure)


def _series(lines: list[dict[str, Any]], keys: dict[str, str]) -> Series:
    """The values of each key under its label, NaN where a line lacks it; no key that all lack."""
    return {
        label: drawable([line.get(key, math.nan) for line in lines])
        for label, key in keys.items()
        if any(key in line for line in lines)
    }


def _any(series: Series) -> bool:
    return any(not math.isnan(value) for value in _figures(series))


def _figures(series: Series) -> list[float]:
    return [value for values in series.values() for value in values]


def _best(epochs: list[float], series: Series, choose: Callable[..., Any]) -> str:
    pairs = zip(series.get("validation", []), epochs, strict=False)
    known = [(value, epoch) for value, epoch in pairs if not math.isnan(value)]
    if not known:
        return ""
    value, epoch = choose(known, key=lambda pair: pair[0])
    return f" Best in validation: {number(value)}, in epoch {epoch:g}."


def _not_finite(lines: list[dict[str, Any]]) -> str:
    for line in lines:
        losses = [float(line[key]) for key in ("train_loss", "val_loss") if key in line]
        if not all(map(math.isfinite, losses)):
            return f" Not finite from epoch {line['epoch']:g}."
    return ""


def _paint(
    axes: Axes,
    xs: list[float],
    series: Series,
    quantity: str,
    landmarks: Landmarks | None = None,
) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, values in series.items():
        dot = "o" if len(xs) < 3 else None
        axes.plot(xs, values, color=COLOURS[label], label=label, marker=dot, markersize=4)
    figures = _figures(series)
    if quantity == "loss" and wide(figures, ratio=50):
        log_axis(axes, of="y")
    if landmarks is not None:
        landmarks.paint_best(axes, xs)
        if quantity == "loss":
            landmarks.paint_losses(axes, figures)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    if len(series) > 1:
        legend_above(axes)
