"""Charts of an untrained network: how values and gradients fare from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnrecipe.report.drawing import INK, TRAIN, VAL, Plot, compose, drawable, log_axis, power
from nnrecipe.report.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELLED_LAYERS = 12


@dataclass(frozen=True)
class Start:
    """One way to start a network: what to call it, and its layers' rows and histograms."""

    activation: str
    init: str
    layers: Sequence[dict[str, Any]]
    histograms: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Start:
        """The hidden layers of a network; the last one, of the outputs, has another scale."""
        layers = _complete(facts.get("layers"), {"path", "spread", "gradient"})
        histograms = _complete(facts.get("histograms"), {"low", "high", "shares"})
        return cls(facts.get("activation", ""), facts.get("init", ""), layers[:-1], histograms[:-1])


def _complete(rows: Any, keys: set[str]) -> list[dict[str, Any]]:
    """The rows of a fact, or none where any lacks a key: there is nothing to draw."""
    given = rows if isinstance(rows, list) else []
    return given if all(isinstance(row, dict) and keys <= row.keys() for row in given) else []


def signal_plots(facts: dict[str, Any]) -> Iterator[Plot]:
    """The recipe's own start, and a table of pictures of those that it is compared to."""
    own = Start.of(facts)
    if own.layers and own.histograms:
        caption = (
            "Before the first step: the values that leave each hidden layer (darker: more of "
            "them), and the size of their spread and of the gradients that come back."
        )
        drawn = compose(lambda f: _paint_own(f, own), size=(9.2, 2.7))
        yield Plot("init", "init", caption, drawn, broad=True)
    compared = [Start.of(start) for start in facts.get("compared", [])]
    if compared:
        rows = list(dict.fromkeys(start.activation for start in compared))
        columns = list(dict.fromkeys(start.init for start in compared))
        size = (0.6 + 1.7 * len(columns), 0.5 + 3.1 * len(rows))
        caption = (
            "The same network, started in other ways. Above, the values that leave each hidden "
            "layer, from the first on the left to the last; below, their spread and gradient."
        )
        drawn = compose(lambda f: _paint_table(f, compared, rows, columns), size=size)
        yield Plot("init_compared", "init", caption, drawn, broad=True)


def _paint_own(figure: Figure, start: Start) -> None:
    values, sizes = figure.subplots(1, 2)
    _paint_values(values, start)
    values.set_ylabel("value")
    _paint_sizes(sizes, start)
    sizes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=1.2)
    labels = [clean(str(layer["path"]), limit=14) for layer in start.layers]
    for axes in (values, sizes):
        if len(labels) <= MOST_LABELLED_LAYERS:
            axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        else:
            axes.set_xlabel("layer")


def _paint_table(
    figure: Figure, starts: Sequence[Start], rows: Sequence[str], columns: Sequence[str]
) -> None:
    grid = figure.subplots(2 * len(rows), len(columns), squeeze=False)
    for start in starts:
        row, column = 2 * rows.index(start.activation), columns.index(start.init)
        above, below = grid[row][column], grid[row + 1][column]
        _paint_values(above, start)
        _paint_sizes(below, start)
        below.set_ylim(1e-12, 1e6)
        above.set_title(clean(start.init, limit=24), fontsize=8)
        for axes in (above, below):
            axes.set_xticks([])
            axes.tick_params(labelsize=7)
            if column:
                axes.tick_params(labelleft=axes is above)
        if not column:
            above.set_ylabel(f"{start.activation}: values" if start.activation else "values")
            below.set_ylabel("size")
    handles, labels = grid[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=1.2)


def _paint_values(axes: Axes, start: Start) -> None:
    """Each layer's histogram as a column of shades on one scale of values."""
    import numpy as np
    from matplotlib.colors import to_rgba

    ranges = [(float(h["low"]), float(h["high"])) for h in start.histograms]
    known = [r for r in ranges if all(map(math.isfinite, r))] or [(0.0, 1.0)]
    low, high = min(r[0] for r in known), max(r[1] for r in known)
    for depth, (histogram, ends) in enumerate(zip(start.histograms, ranges, strict=True)):
        if not all(map(math.isfinite, ends)):
            continue
        shares = np.asarray(histogram["shares"], dtype=float)
        cells = np.empty((len(shares), 1, 4))
        cells[:] = to_rgba(TRAIN)
        cells[:, 0, 3] = np.sqrt(shares / max(shares.max(), 1e-12))
        axes.imshow(
            cells, extent=(depth - 0.42, depth + 0.42, *ends), origin="lower", aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
    axes.set_xlim(-0.6, len(ranges) - 0.4)
    axes.yaxis.set_major_formatter(lambda value, _: power(value) if value else "0")
    margin = 0.03 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.grid(visible=False, axis="x")


def _paint_sizes(axes: Axes, start: Start) -> None:
    """Spread and gradient of each layer on a log axis; what is zero has no place on it."""
    known = False
    for key, colour in (("spread", TRAIN), ("gradient", VAL)):
        sizes = [s if s > 0 else math.nan for s in drawable([row[key] for row in start.layers])]
        known = known or not all(map(math.isnan, sizes))
        axes.plot(sizes, color=colour, marker="o", markersize=3, label=key)
    log_axis(axes, of="y")
    if not known:
        axes.annotate("0", (0.5, 0.5), xycoords="axes fraction", color=INK, ha="center")
