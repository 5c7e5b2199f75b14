"""Charts of what each layer showed at the sampled steps of a training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnrecipe.checks.history import RATIO_BAND
from nnrecipe.report.drawing import (
    GOOD,
    INK,
    TRAIN,
    VAL,
    Plot,
    drawable,
    log_axis,
    power,
    sketch,
)
from nnrecipe.report.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USUAL_RATIO = 1e-3
"""How large an update is against its weight when training goes well (CS231n notes)."""

MOST_NAMED_LAYERS = 6
LAYER_COLOURS = ("#3b7dd8", "#e07b39", "#2f9e62", "#b45bcf", "#b8901f", "#d64545")
LARGEST_SHOWN = 1e6
"""Figures of layers beyond this run out of the picture: an axis that holds them shows no others."""


@dataclass(frozen=True)
class LayerFigure:
    """A figure that every layer has at each sampled step, and how it is drawn.

    `label` is the axis's. A share goes from 0 to 1; others have a log axis that reaches up to
    `least_top` at least, with a `band` of good figures and the `usual` one where there are such.
    """

    key: str
    label: str
    caption: str
    is_share: bool = False
    band: tuple[float, float] | None = None
    usual: float | None = None
    least_top: float = 1e-12


TASK_FIGURES = (
    LayerFigure(
        "task_loss",
        "loss",
        "Loss of each task before it is weighed, over a batch.",
    ),
    LayerFigure(
        "task_weight",
        "weight",
        "By what each task's loss is multiplied in the sum that training makes small.",
    ),
    LayerFigure(
        "task_gradient",
        "gradient norm",
        "Norm of each task's weighted gradient on the layers that they share. A line more than a "
        "decade above another drowns it.",
    ),
    LayerFigure(
        "task_score",
        "score",
        "Each task's score in validation: an accuracy, or R2 of a regression.",
        is_share=True,
    ),
)

LAYER_FIGURES = (
    LayerFigure(
        "update_ratio",
        "update / weight",
        "Size of an update relative to the weights, by layer. The dashed line is the usual "
        f"{power(USUAL_RATIO)}; the band spans {power(RATIO_BAND[0])} to {power(RATIO_BAND[1])}.",
        band=RATIO_BAND,
        usual=USUAL_RATIO,
        least_top=0.2,
    ),
    LayerFigure(
        "gradient_norm",
        "gradient norm",
        "Norm of the gradient before clipping, by layer. Lines that lie decades apart are layers "
        "that learn at different speeds.",
    ),
    LayerFigure(
        "activation_norm",
        "activation",
        "Root mean square of what each layer puts out. It should neither die out nor grow from "
        "layer to layer.",
    ),
    LayerFigure(
        "dead_units",
        "dead units",
        "Share of each layer's ReLUs that are zero for a whole batch. What rises towards 1 and "
        "stays there no longer learns.",
        is_share=True,
    ),
    LayerFigure(
        "saturated_units",
        "saturated",
        "Share of each layer's values at the ends of the range of tanh or sigmoid, where next to "
        "no gradient passes.",
        is_share=True,
    ),
)


def layer_plots(metrics: Sequence[dict[str, Any]], figure: LayerFigure) -> Iterator[Plot]:
    """One line a layer; a figure of zero has no place on a log axis, and is left out."""
    sampled = {line["step"]: line[figure.key] for line in metrics if figure.key in line}
    steps = sorted(sampled)
    layers = dict.fromkeys(layer for step in steps for layer in sampled[step])
    series = {
        layer: [
            value if value > 0 or figure.is_share else math.nan
            for value in drawable([sampled[step].get(layer, math.nan) for step in steps])
        ]
        for layer in layers
    }
    if any(not math.isnan(value) for values in series.values() for value in values):
        drawn = sketch(lambda axes: _paint_layers(axes, steps, series, figure), size=(4.6, 3.0))
        yield Plot(figure.key, "train", figure.caption, drawn)


def _paint_layers(
    axes: Axes, steps: list[int], series: dict[str, list[float]], figure: LayerFigure
) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.ticker import MaxNLocator

    if figure.band is not None:
        axes.axhspan(*figure.band, color=GOOD, alpha=0.1, linewidth=0)
    if figure.usual is not None:
        axes.axhline(figure.usual, color=GOOD, linewidth=1, linestyle=(0, (4, 3)))
    named = len(series) <= MOST_NAMED_LAYERS
    for place, (layer, values) in enumerate(series.items()):
        depth = place / max(1, len(series) - 1)
        colour = LAYER_COLOURS[place] if named else to_hex(_between(TRAIN, VAL, depth))
        label = clean(layer, limit=20) if named or depth in (0, 1) else None
        dot = "o" if len(steps) < 3 else None
        axes.plot(steps, values, color=colour, label=label, linewidth=1.3, marker=dot, markersize=4)
    if figure.is_share:
        axes.set_ylim(-0.02, 1.02)
    else:
        log_axis(axes, of="y")
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 1e-12), min(max(high, figure.least_top), LARGEST_SHOWN))
    axes.set_xlabel("step")
    axes.set_ylabel(figure.label)
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
