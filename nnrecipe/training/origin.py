"""Where in a training step a figure first ceases to be finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

OURS = Path(__file__).parents[1]
TORCHS = Path(torch.__file__).parent


class Place(StrEnum):
    """The part of a step that something went wrong in."""

    INPUTS = "inputs"
    TARGETS = "targets"
    FORWARD = "forward"
    LOSS = "loss"
    GRADIENT = "gradient"
    UPDATE = "update"


@dataclass(frozen=True)
class Origin:
    """The first figure of a training that was not finite.

    `layer` is the path of the module (of the parameter, where it was an update), empty for inputs,
    targets and the loss. `largest` is the largest magnitude seen in the step before it: a figure
    that overflows has large predecessors, one that is undefined has none. For a gradient,
    `operation` is what backpropagation was going through, and `code` the line that called it.
    """

    step: int
    place: Place
    layer: str = ""
    largest: float = 0.0
    operation: str = ""
    code: str = ""

    def __str__(self) -> str:
        told = {
            Place.INPUTS: "in the inputs of the batch",
            Place.TARGETS: "in the targets of the batch",
            Place.FORWARD: f"in {self.layer} (forward)",
            Place.LOSS: "in the loss, of finite outputs",
            Place.GRADIENT: f"in the gradient through {self.layer or 'the loss'}"
            + (f" ({self.operation})" if self.operation else ""),
            Place.UPDATE: f"in the update of {self.layer}, with finite gradients",
        }
        return f"step {self.step}: first {told[self.place]}"


@dataclass(eq=False)
class Inspector(TorchFunctionMode):
    """Looks at everything in one step, and remembers the first figure that isn't finite.

    It waits for the device at every module, so it is for a step that is repeated, not for training.
    """

    step: int
    found: Origin | None = None
    largest: float = 0.0
    open: list[str] = field(default_factory=list)
    owners: dict[Node, str] = field(default_factory=dict)
    """The module that made each node of the graph; holding the nodes keeps them what they are."""
    is_finite: bool = True
    """Whether the objective was."""

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The step's one call of `backward` is where the objective and its graph can be seen."""
        if func is Tensor.backward:
            self.see_objective(args[0])
        return func(*args, **(kwargs or {}))

    def tell(self, place: Place, layer: str = "", **more: str) -> None:
        """Remember where it was, if it is the first."""
        if self.found is None:
            self.found = Origin(self.step, place, layer, self.largest, **more)

    def begin(self, path: str, inputs: Any) -> None:
        """A module is called: what it is given was made by the module around it."""
        if inputs and not all(map(is_finite, _tensors(inputs[0]))):
            self.tell(Place.FORWARD, self.open[-1] if self.open else path)
        self.open.append(path)

    def end(self, path: str, output: Any) -> None:
        """A module has returned."""
        self.open.pop()
        for tensor in _tensors(output):
            if is_finite(tensor):
                self.largest = max(self.largest, size(tensor))
            else:
                self.tell(Place.FORWARD, path)
            for node in _graph(tensor.grad_fn, known=self.owners):
                self.owners[node] = path

    def see_objective(self, objective: Tensor) -> None:
        """Look at the loss, and at each operation when the gradient comes back through it."""
        self.is_finite = is_finite(objective)
        if self.is_finite:
            self.found = None  # a mask's infinities are no fault where nothing comes of them
            for node in (*self.owners, *_graph(objective.grad_fn, known=self.owners)):
                node.register_hook(self.backward_through(node))
        else:
            self.tell(Place.LOSS)

    def backward_through(self, node: Node) -> Callable[[Any, Any], None]:
        """A hook for a node of the graph, called when its gradients are there."""

        def seen(made: Any, given: Any) -> None:
            if self.found is not None or not all(map(is_finite, _tensors(given))):
                return
            self.largest = max([self.largest, *map(size, _tensors(given))])
            if not all(map(is_finite, _tensors(made))):
                name = node.name().removesuffix("Backward").rstrip("0123456789")
                operation = name.removesuffix("Backward")
                layer = self.owners.get(node, "")
                self.tell(Place.GRADIENT, layer, operation=operation, code=_code(node))

        return seen

    def see_weights(self, model: nn.Module) -> None:
        """Look at what the step has made of the model."""
        for path, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not is_finite(tensor):
                self.tell(Place.UPDATE, path)


@contextmanager
def inspecting(model: nn.Module, *, step: int) -> Iterator[Inspector]:
    """A block that takes one step, under inspection."""
    inspector = Inspector(step)
    hooks = []
    for path, module in model.named_modules():
        name = path or "the model's own code"
        hooks.append(module.register_forward_pre_hook(_begins(inspector, name)))
        hooks.append(module.register_forward_hook(_ends(inspector, name)))
    try:
        with inspector, torch.autograd.set_detect_anomaly(True, check_nan=False):
            yield inspector
    finally:
        for hook in hooks:
            hook.remove()
    inspector.see_weights(model)


def _begins(inspector: Inspector, path: str) -> Callable[[nn.Module, Any], None]:
    return lambda _module, inputs: inspector.begin(path, inputs)


def _ends(inspector: Inspector, path: str) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, _inputs, output: inspector.end(path, output)


def is_finite(tensor: Tensor) -> bool:
    """Whether all of a tensor's values are; whole numbers always are."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def size(tensor: Tensor) -> float:
    """The largest magnitude in a tensor that is finite; 0 for an empty one."""
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


def _tensors(value: Any) -> Iterable[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _graph(root: Node | None, *, known: Mapping[Node, str]) -> list[Node]:
    """The nodes of a graph from `root` on, without those that are known already."""
    found: dict[Node, None] = {}
    ahead = [root]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in known and node not in found:
            found[node] = None
            ahead += [before for before, _ in node.next_functions]
    return list(found)


def _code(node: Node) -> str:
    """The innermost line of the user's code that called an operation: `net.py:12: x.sqrt()`."""
    lines = []
    metadata: Any = node.metadata  # a dictionary, whatever its annotation says
    for frame in metadata.get("traceback_", ()):
        place, _, code = str(frame).strip().partition("\n")
        _, name, rest = [*place.split('"', 2), "", ""][:3]
        inside = Path(name)
        if not (inside.is_relative_to(OURS) or inside.is_relative_to(TORCHS)):
            number = rest.removeprefix(", line ").partition(",")[0]
            lines.append(f"{name}:{number}: {code.strip().splitlines()[0] if code else ''}")
    return lines[-1] if lines else ""
