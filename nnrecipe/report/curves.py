"""Charts of training, drawn from the lines of `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnrecipe.checks.history import RATIO_BAND
from nnrecipe.report.drawing import (
    GOOD,
    INK,
    TRAIN,
    VAL,
    Plot,
    drawable,
    legend_above,
    log_axis,
    power,
    sketch,
    wide,
)
from nnrecipe.report.wording import clean, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Sequence[dict[str, Any]]
Series = dict[str, list[float]]
USUAL_RATIO = 1e-3
"""How large an update is against its weight when training goes well (CS231n notes)."""

MOST_NAMED_LAYERS = 6
COLOURS = {"train": TRAIN, "validation": VAL}
LAYER_COLOURS = ("#3b7dd8", "#e07b39", "#2f9e62", "#b45bcf", "#b8901f", "#d64545")


def training_plots(metrics: Metrics) -> Iterator[Plot]:
    """Loss, accuracy and learning rate by epoch, update ratios by step: those that were logged."""
    by_epoch = {line["epoch"]: line for line in metrics if "epoch" in line}  # the latest counts
    epochs = sorted(by_epoch)
    lines = [by_epoch[epoch] for epoch in epochs]
    losses = _series(lines, {"train": "train_loss", "validation": "val_loss"})
    if _any(losses):
        caption = f"Loss by epoch.{_best(epochs, losses, min)}{_not_finite(lines)}"
        drawn = sketch(lambda axes: _paint(axes, epochs, losses, quantity="loss"))
        yield Plot("loss", "train", caption, drawn)
    hits = _series(lines, {"train": "train_accuracy", "validation": "val_accuracy"})
    if _any(hits):
        caption = f"Accuracy by epoch.{_best(epochs, hits, max)}"
        drawn = sketch(lambda axes: _paint(axes, epochs, hits, quantity="accuracy"))
        yield Plot("accuracy", "train", caption, drawn)
    rates = _series(lines, {"train": "lr"})
    if len(set(rates.get("train", []))) > 1:
        drawn = sketch(lambda axes: _paint(axes, epochs, rates, quantity="learning rate"))
        yield Plot("lr", "train", "Learning rate by epoch.", drawn)
    yield from _ratio_plots(metrics)


def _series(lines: list[dict[str, Any]], keys: dict[str, str]) -> Series:
    """The values of each key under its label, NaN where a line lacks it; no key that all lack."""
    return {
        label: drawable([line.get(key, math.nan) for line in lines])
        for label, key in keys.items()
        if any(key in line for line in lines)
    }


def _any(series: Series) -> bool:
    return any(not math.isnan(value) for values in series.values() for value in values)


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


def _paint(axes: Axes, xs: list[float], series: Series, *, quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, values in series.items():
        dot = "o" if len(xs) < 3 else None
        axes.plot(xs, values, color=COLOURS[label], label=label, marker=dot, markersize=4)
    figures = [value for values in series.values() for value in values]
    if quantity == "loss" and wide(figures, ratio=50):
        log_axis(axes, of="y")
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    if len(series) > 1:
        legend_above(axes)


def _ratio_plots(metrics: Metrics) -> Iterator[Plot]:
    """One line a layer; a ratio of zero has no place on a log axis, and is left out."""
    ratios = {line["step"]: line["update_ratio"] for line in metrics if "update_ratio" in line}
    steps = sorted(ratios)
    layers = dict.fromkeys(layer for step in steps for layer in ratios[step])
    series = {
        layer: [
            value if value > 0 else math.nan
            for value in drawable([ratios[step].get(layer, math.nan) for step in steps])
        ]
        for layer in layers
    }
    if not _any(series):
        return
    low, high = map(power, RATIO_BAND)
    caption = (
        "Size of an update relative to the weights, by layer. "
        f"The dashed line is the usual {power(USUAL_RATIO)}; the band spans {low} to {high}."
    )
    drawn = sketch(lambda axes: _paint_ratios(axes, steps, series), size=(4.6, 3.0))
    yield Plot("update_ratio", "train", caption, drawn)


def _paint_ratios(axes: Axes, steps: list[int], series: Series) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.ticker import MaxNLocator

    axes.axhspan(*RATIO_BAND, color=GOOD, alpha=0.1, linewidth=0)
    axes.axhline(USUAL_RATIO, color=GOOD, linewidth=1, linestyle=(0, (4, 3)))
    named = len(series) <= MOST_NAMED_LAYERS
    for place, (layer, values) in enumerate(series.items()):
        depth = place / max(1, len(series) - 1)
        colour = LAYER_COLOURS[place] if named else to_hex(_between(TRAIN, VAL, depth))
        label = clean(layer, limit=20) if named or depth in (0, 1) else None
        dot = "o" if len(steps) < 3 else None
        axes.plot(steps, values, color=colour, label=label, linewidth=1.3, marker=dot, markersize=4)
    log_axis(axes, of="y")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-12), min(max(high, 0.2), 1e6))
    axes.set_xlabel("step")
    axes.set_ylabel("update / weight")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    columns = 3 if named else 2
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, handlelength=1.2, labelcolor=INK
    )


def _between(first: str, last: str, share: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (
        a + (b - a) * share for a, b in zip(to_rgb(first), to_rgb(last), strict=True)
    )
    return red, green, blue
