"""A graph drawn as the lecture does: the value above each edge, the gradient below it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from nnrecipe.explain.layout import lay_out
from nnrecipe.explain.passes import Explanation
from nnrecipe.explain.words import figure, number
from nnrecipe.report.drawing import BAD, GOOD, INK, STYLE, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHARACTER, LINE = 0.075, 0.16  # inches, of the labels
GATE = 0.2  # inches, half of a gate's height
LARGEST = 200.0  # inches
KEY = "above each edge: the value (forward); below it: the gradient of the result (backward)"


def draw(explanation: Explanation) -> Plot:
    """The SVG. Its labels have the ids `value-I` and `gradient-I`, the result's the last ones."""
    buffer = io.StringIO()
    _paint(explanation, buffer, kind="svg")
    return Plot("graph", "explain", f"{explanation.text} as a graph. {KEY}", buffer.getvalue())


def draw_png(explanation: Explanation) -> bytes:
    """A picture on white."""
    buffer = io.BytesIO()
    _paint(explanation, buffer, kind="png")
    return buffer.getvalue()


def _paint(explanation: Explanation, buffer: io.StringIO | io.BytesIO, *, kind: str) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    white = {"figure.facecolor": "white", "savefig.facecolor": "white"} if kind == "png" else {}
    with warnings.catch_warnings(), mpl.rc_context(STYLE | white):
        warnings.simplefilter("ignore")  # a glyph that a font lacks is no reason to fail
        figure = Figure(dpi=150)
        _paint_graph(figure, explanation)
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, metadata=metadata)


def _paint_graph(page: Figure, explanation: Explanation) -> None:
    """One unit of the axes is an inch."""
    layout, gates = lay_out(explanation), explanation.gates
    labels = [_lines(t) for gate in gates for t in (gate.value, gate.gradient)]
    names = max(len(gate.label) for gate in gates)
    longest = max(len(line) for lines in labels for line in lines)
    wide = CHARACTER * (longest + names) + 0.9
    # Edges that meet in a gate are half a row apart in the middle, where their labels are.
    high = 2 * (2 * LINE * max(len(lines) for lines in labels) + 0.12)
    width = min((layout.columns + 0.5) * wide, LARGEST)
    height = min(layout.rows * high + 0.5, LARGEST)
    page.set_size_inches(max(width, 0.07 * len(KEY)), height)
    axes = page.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-wide / 2, page.get_figwidth() - wide / 2), ylim=(height - high / 2, -high / 2))
    axes.set_axis_off()
    places = [(column * wide, row * high) for column, row in layout.places]
    half = [CHARACTER * len(gate.label) / 2 + 0.12 for gate in gates]
    numbered = ((end, n) for end, gate in enumerate(gates) for n in range(len(gate.edges)))
    for name, (end, n) in enumerate(numbered):
        edge = gates[end].edges[n]
        points = [(column * wide, row * high) for column, row in layout.routes[end, n]]
        points[0] = (points[0][0] + half[edge.start], points[0][1])
        points[-1] = (points[-1][0] - half[end], points[-1][1])
        _edge(axes, points)
        _labels(axes, points[:2], edge.value, edge.gradient, name=name)
    out = places[-1][0] + half[-1]
    points = [(out, places[-1][1]), (out + wide * 0.55, places[-1][1])]
    _edge(axes, points)
    count = sum(len(gate.edges) for gate in gates)
    _labels(axes, points, gates[-1].value, gates[-1].gradient, name=count)
    for gate, (x, y) in zip(gates, places, strict=True):
        shape = "round,pad=0.35,rounding_size=0.6" if gate.edges else "square,pad=0.3"
        box = {"boxstyle": shape, "facecolor": "none", "edgecolor": INK, "linewidth": 1.0}
        axes.text(x, y, gate.label, ha="center", va="center", fontsize=10, bbox=box)
    axes.text(0.01, 0.01, KEY, transform=axes.transAxes, fontsize=8, va="bottom")


def _edge(axes: Axes, points: list[tuple[float, float]]) -> None:
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=INK, linewidth=0.9)
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 2}
    axes.annotate("", points[-1], points[-2], arrowprops=arrow)


def _labels(
    axes: Axes, points: list[tuple[float, float]], value: Tensor, gradient: Tensor, *, name: int
) -> None:
    """The value above the middle of an edge's first part, the gradient below it."""
    (x0, y0), (x1, y1) = points
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    for lines, colour, shift, side, kind in (
        (_lines(value), GOOD, -4, "bottom", "value"),
        (_lines(gradient), BAD, 4, "top", "gradient"),
    ):
        axes.annotate(
            "\n".join(lines), (x, y), (0, -shift), textcoords="offset points", ha="center",
            va=side, color=colour, fontsize=9, gid=f"{kind}-{name}",
        )  # fmt: skip


def _lines(value: Tensor) -> list[str]:
    """A number to two decimals, as the lecture has it; a matrix row by row."""
    if value.ndim < 2 or value.numel() > 16:
        return [_rounded(float(value)) if value.ndim == 0 else figure(value)]
    return [" ".join(_rounded(float(entry)) for entry in row) for row in value]


def _rounded(value: float) -> str:
    fine = value == int(value) or not 0.01 <= abs(value) < 1e4
    return number(value, digits=3) if fine else f"{value:.2f}"


def shown_by_step(explanation: Explanation) -> Iterator[tuple[str, list[str]]]:
    """For each gate forward and then backward, its text and the ids of the labels that it fills."""
    gates = explanation.gates
    edges = [edge for gate in gates for edge in gate.edges]
    last = len(gates) - 1
    for place, gate in enumerate(gates):
        ids = [f"value-{n}" for n, edge in enumerate(edges) if edge.start == place]
        told = f"forward: {gate.text} = {figure(gate.value)}"
        yield told, [*ids, *([f"value-{len(edges)}"] if place == last else [])]
    yield f"backward: {gates[last].text} has gradient 1 by itself", [f"gradient-{len(edges)}"]
    for place in reversed(range(len(gates))):
        into = [(n, edge) for n, edge in enumerate(edges) if edge.end == place]
        told = ", ".join(
            f"{gates[edge.start].text} gets {figure(edge.gradient)}" for _, edge in into
        )
        if into:
            yield f"backward: {gates[place].text}: {told}", [f"gradient-{n}" for n, _ in into]
