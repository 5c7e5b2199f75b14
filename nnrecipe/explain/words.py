"""An explanation in words: the table of all values and gradients, and the passes step by step."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from nnrecipe.core.table import aligned
from nnrecipe.explain.passes import Edge, Explanation, Gate

LONGEST_TEXT = 44
MOST_ENTRIES = 16
"""Numbers of a matrix that are written out; of a larger one, its shape and its norm are told."""


def number(value: float, *, digits: int = 4) -> str:
    """So many significant digits; whole numbers as such."""
    return f"{value + 0.0:.{digits}g}"  # + 0.0 makes -0 a 0


def figure(value: Tensor) -> str:
    """A number, or a matrix in brackets."""
    if value.numel() > MOST_ENTRIES:
        return f"{list(value.shape)} of norm {number(float(value.norm()))}"
    if value.ndim == 0:
        return number(float(value))
    return f"[{', '.join(map(figure, value))}]"


def rows(explanation: Explanation) -> list[tuple[str, str, str]]:
    """Text, value and gradient of each gate, and of each edge where several leave one gate."""
    found = []
    for place, gate in enumerate(explanation.gates):
        found.append((_short(gate.text), figure(gate.value), figure(gate.gradient)))
        uses = explanation.uses(place)
        for edge in uses if len(uses) > 1 else []:
            into = f"  into {_short(explanation.gates[edge.end].text)}"
            found.append((into, figure(edge.value), figure(edge.gradient)))
    return found


def table(explanation: Explanation) -> list[str]:
    """The rows as lines of text, under their heads."""
    return aligned([("node", "value", "gradient"), *rows(explanation)], right=(1, 2))


def steps(explanation: Explanation) -> Iterator[str]:
    """The forward pass and then the backward pass, one gate at a time."""
    gates = explanation.gates
    for gate in gates:
        yield f"forward   {_forward(gate, gates)}"
    yield f"backward  {_short(explanation.result.text)}: gradient 1 by itself"
    for place in reversed(range(len(gates))):
        for edge in gates[place].edges:
            yield f"backward  {_backward(edge, gates)}"
        for start in dict.fromkeys(edge.start for edge in gates[place].edges):
            uses = explanation.uses(start)
            if len(uses) > 1 and min(edge.end for edge in uses) == place:
                terms = " + ".join(figure(edge.gradient) for edge in uses)
                total = figure(gates[start].gradient)
                yield f"backward  {_short(gates[start].text)}: {terms} = {total}, over all its uses"


def _forward(gate: Gate, gates: tuple[Gate, ...]) -> str:
    if not gate.edges:
        return f"{gate.text} = {figure(gate.value)}"
    given = ", ".join(
        f"{_short(gates[edge.start].text)} = {figure(edge.value)}" for edge in gate.edges
    )
    return f"{_short(gate.text)} = {figure(gate.value)}  (from {given})"


def _backward(edge: Edge, gates: tuple[Gate, ...]) -> str:
    end, start = gates[edge.end], gates[edge.start]
    told = f"{_short(end.text)} -> {_short(start.text)}: "
    if edge.local is None:
        return f"{told}{figure(edge.gradient)}"
    upstream, local = figure(end.gradient), number(edge.local)
    return f"{told}{upstream} (upstream) * {local} (local) = {figure(edge.gradient)}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
