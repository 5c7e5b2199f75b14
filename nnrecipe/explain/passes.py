"""The forward pass and the backward pass through a graph: every value, and every gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from nnrecipe.explain.expression import build_graph, check_division, compute
from nnrecipe.explain.source import Source


@dataclass(frozen=True)
class Edge:
    """A value on its way into one gate, and the gradient that comes back along it.

    `start` and `end` are places among the gates; `local` is the derivative of the gate's result
    with respect to this value, where both are single numbers.
    """

    start: int
    end: int
    value: Tensor
    gradient: Tensor
    local: float | None


@dataclass(frozen=True)
class Gate:
    """An input (it has no edges into it) or an operation.

    `gradient` is the derivative of the whole result with respect to `value`, and has its shape: the
    sum over the edges that leave it.
    """

    label: str
    text: str
    value: Tensor
    gradient: Tensor
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Explanation:
    """An expression's graph; the gates stand in the order of the forward pass, the result last."""

    text: str
    gates: tuple[Gate, ...]

    @property
    def inputs(self) -> dict[str, Gate]:
        """The gates that are inputs, by name."""
        return {gate.label: gate for gate in self.gates if not gate.edges}

    @property
    def result(self) -> Gate:
        """The last gate."""
        return self.gates[-1]

    def uses(self, place: int) -> list[Edge]:
        """The edges that leave a gate."""
        return [edge for gate in self.gates for edge in gate.edges if edge.start == place]


def explain(expression: str, values: Mapping[str, Tensor]) -> Explanation:
    """Compute forward and backward, in float64, by torch's autograd.

    Raises `UserError` for an expression that can't be read or computed, with its place.
    """
    source = Source.of("expression", expression)
    graph = build_graph(source, values)
    forward = _Forward(graph, source)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    result = forward.run(*(values[str(node.target)].double() for node in inputs))
    last = forward.order[-1]
    if result.numel() != 1:
        shape = list(result.shape)
        remedy = "wrap it in sum(...) or mean(...)"
        problem = f"the result has the shape {shape}, and gradients are of one number: {remedy}"
        raise source.error(last.meta["syntax"], problem)
    return Explanation(source.text, _gates(forward, result.sum(), source))


class _Forward(fx.Interpreter):
    """Runs a graph; every edge has a tensor of its own, and so a gradient of its own."""

    def __init__(self, graph: fx.Graph, source: Source) -> None:
        super().__init__(nn.Module(), garbage_collect_values=False, graph=graph)
        self.extra_traceback = False  # what is raised here is for the user to read
        self.source = source
        self.order: list[fx.Node] = []
        self.values: dict[fx.Node, Tensor] = {}
        self.edges: dict[fx.Node, list[tuple[fx.Node, Tensor]]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, kept with what leads into it."""
        if n.op == "output":
            return super().run_node(n)
        self.order.append(n)
        self.edges[n] = []
        if n.op == "placeholder":
            self.values[n] = super().run_node(n).clone().requires_grad_()
            return self.values[n]
        given = [self._arrive(n, argument) for argument in n.args]
        syntax = n.meta["syntax"]
        check_division(syntax, _operands(given), self.source)
        assert callable(n.target)
        self.values[n] = compute(n.target, given, syntax, self.source)
        return self.values[n]

    def _arrive(self, node: fx.Node, argument: Any) -> Tensor | float:
        if not isinstance(argument, fx.Node):
            return float(argument)
        value = self.values[argument].clone()
        self.edges[node].append((argument, value))
        return value


def _operands(given: list[Tensor | float]) -> list[Tensor | float]:
    return [value.detach() if isinstance(value, Tensor) else value for value in given]


def _gates(forward: _Forward, result: Tensor, source: Source) -> tuple[Gate, ...]:
    order, places = forward.order, {node: place for place, node in enumerate(forward.order)}
    values = [forward.values[node] for node in order]
    tensors = [*values, *(tensor for node in order for _, tensor in forward.edges[node])]
    found = torch.autograd.grad(
        result, tensors, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    gradients = {id(tensor): gradient for tensor, gradient in zip(tensors, found, strict=True)}
    for node in reversed(order):
        for start, tensor in forward.edges[node]:
            if not gradients[id(tensor)].isfinite().all():
                problem = f"{node.meta['text']} has no finite slope in {start.meta['text']} there"
                raise source.error(node.meta["syntax"], problem)
    gates = []
    for node, value in zip(order, values, strict=True):
        edges = tuple(
            Edge(
                places[start],
                places[node],
                tensor.detach(),
                gradients[id(tensor)],
                _local(value, tensor),
            )
            for start, tensor in forward.edges[node]
        )
        gradient = gradients[id(value)]
        gates.append(Gate(node.meta["label"], node.meta["text"], value.detach(), gradient, edges))
    return tuple(gates)


def _local(value: Tensor, edge: Tensor) -> float | None:
    if value.ndim or edge.ndim:
        return None
    (slope,) = torch.autograd.grad(value, edge, retain_graph=True)
    return float(slope)
