"""Charts of training, drawn from the lines of `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnrecipe.report.drawing import (
    GOOD,
    INK,
    TRAIN,
    VAL,
    Plot,
    drawable,
    legend_above,
    log_axis,
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
HEALTHY_RATIOS = (1e-4, 1e-1)
MOST_NAMED_LAYERS = 6
COLOURS = {"train": TRAIN, "validation": VAL}
LAYER_COLOURS = ("#3b7dd8", "#e07b39", "#2f9e62", "#b45bcf", "#b8901f", "#d64545")


def training_plots(metrics: Metrics) -> Iterator[Plot]:
    """Loss, accuracy and learning rate by epoch, update ratios by step: those that were logged."""
    epochs = {line["epoch"]: line for line in metrics if "epoch" in line}  # the latest counts
    if epochs:
        by_epoch = [epochs[epoch] for epoch in sorted(epochs)]
        yield from _epoch_plots(sorted(epochs), by_epoch)
    ratios = {line["step"]: line["update_ratio"] for line in metrics if "update_ratio" in line}
    if ratios:
        yield _update_ratios(ratios)


def _epoch_plots(epochs: list[float], lines: list[dict[str, Any]]) -> Iterator[Plot]:
    def series(quantity: str) -> Series:
        keys = {"train": f"train_{quantity}", "validation": f"val_{quantity}"}
        return {
            label: drawable([line.get(key, math.nan) for line in lines])
            for label, key in keys.items()
            if any(key in line for line in lines)
        }

    if losses := series("loss"):
        caption = "Loss by epoch." + _best(epochs, losses, "validation loss", min)
        yield Plot("loss", "train", caption, sketch(lambda a: _paint(a, epochs, losses, "loss")))
    if hits := series("accuracy"):
        caption = "Accuracy by epoch." + _best(epochs, hits, "validation accuracy", max)
        yield Plot(
            "accuracy", "train", caption, sketch(lambda a: _paint(a, epochs, hits, "accuracy"))
        )
    rates = drawable([line.get("lr", math.nan) for line in lines])
    if len({rate for rate in rates if not math.isnan(rate)}) > 1:
        drawn = sketch(lambda a: _paint(a, epochs, {"train": rates}, "learning rate"))
        yield Plot("lr", "train", "Learning rate by epoch.", drawn)


def _best(epochs: list[float], series: Series, noun: str, choose: Any) -> str:
    pairs = zip(series.get("validation", []), epochs, strict=False)
    known = [(value, epoch) for value, epoch in pairs if not math.isnan(value)]
    if not known:
        return ""
    best = choose(value for value, _ in known)
    epoch = next(epoch for value, epoch in known if value == best)
    return f" Best {noun}: {number(best)}, in epoch {epoch:g}."


def _paint(axes: Axes, xs: list[float], series: Series, quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, values in series.items():
        dot = "o" if len(xs) < 3 else None
        axes.plot(xs, values, color=COLOURS[label], label=label, marker=dot, markersize=4)
    if wide([value for values in series.values() for value in values], ratio=50):
        log_axis(axes, of="y")
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    if len(series) > 1:
        legend_above(axes)


def _update_ratios(ratios: dict[int, dict[str, Any]]) -> Plot:
    steps = sorted(ratios)
    layers = dict.fromkeys(layer for step in steps for layer in ratios[step])
    series = {
        layer: drawable([ratios[step].get(layer, math.nan) for step in steps]) for layer in layers
    }
    caption = (
        "Size of an update relative to the weights, by layer. "
        f"The dashed line is the usual {USUAL_RATIO:g}; outside the band something is off."
    )
    drawn = sketch(lambda axes: _paint_ratios(axes, steps, series), size=(4.6, 3.0))
    return Plot("update_ratio", "train", caption, drawn)


def _paint_ratios(axes: Axes, steps: list[int], series: Series) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.ticker import MaxNLocator

    axes.axhspan(*HEALTHY_RATIOS, color=GOOD, alpha=0.1, linewidth=0)
    axes.axhline(USUAL_RATIO, color=GOOD, linewidth=1, linestyle=(0, (4, 3)))
    named = len(series) <= MOST_NAMED_LAYERS
    for place, (layer, values) in enumerate(series.items()):
        depth = place / max(1, len(series) - 1)
        colour = LAYER_COLOURS[place] if named else to_hex(_between(TRAIN, VAL, depth))
        label = clean(layer, limit=20) if named or depth in (0, 1) else None
        positive = [value if value > 0 else math.nan for value in values]  # none on a log axis
        dot = "o" if len(steps) < 3 else None
        axes.plot(
            steps, positive, color=colour, label=label, linewidth=1.3, marker=dot, markersize=4
        )
    log_axis(axes, of="y")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-12), min(max(high, 0.2), 1e6))
    axes.set_xlabel("step")
    axes.set_ylabel("update / weight")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
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
