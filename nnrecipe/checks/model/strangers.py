"""Parameters and modules that forward uses, but the model doesn't know of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getclosurevars
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from nnrecipe.checks.model.probe import outputs_of

DEPTH = 4
"""How deep lists, dicts and plain objects are searched for parameters."""


@contextmanager
def _modules_that_run() -> Iterator[list[nn.Module]]:
    """Every module that is called in the block, once a call."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, _args: Any, _output: Any) -> None:
        ran.append(module)

    hook = register_module_forward_hook(note)
    try:
        yield ran
    finally:
        hook.remove()


def made_in_forward(model: nn.Module, inputs: Tensor) -> str:
    """The class of a layer with parameters that forward makes anew at each call; '' if none."""
    found: list[dict[int, nn.Module]] = []
    with _modules_that_run() as ran:
        for _ in range(2):
            outputs_of(model, inputs)
            found.append({id(module): module for module in _foreign(model, ran)})
            ran.clear()
    first, second = found  # both are kept alive, so that no id is given twice
    fresh = [module for key, module in second.items() if key not in first]
    return type(fresh[0]).__name__ if fresh else ""


def strangers(model: nn.Module, inputs: Tensor) -> dict[str, nn.Parameter | Tensor]:
    """Leaves of the graph behind the outputs that are not among `model.parameters()`, by a name.

    Those that hang in plain lists, dicts or objects are named after them, those of modules that run
    after their class. `model` is run as it is, in its mode.
    """
    known = {id(parameter) for parameter in model.parameters()}
    known |= {id(buffer) for buffer in model.buffers()}
    with _modules_that_run() as ran:
        outputs = model(inputs.clone())
    names = {id(parameter): path for path, parameter in hanging(model).items()}
    for number, module in enumerate(_foreign(model, ran)):
        for path, parameter in module.named_parameters():
            names.setdefault(id(parameter), f"{type(module).__name__} {number}: {path}")
    found: dict[str, nn.Parameter | Tensor] = {}
    for leaf in _leaves(outputs):
        if id(leaf) not in known:
            shape = "x".join(map(str, leaf.shape)) or "scalar"
            found[names.get(id(leaf), f"a tensor {shape}")] = leaf
    return found


def hanging(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters in plain lists, tuples, dicts and objects of a module, by a readable path."""
    known = {id(parameter) for parameter in model.parameters()}
    found: dict[str, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") and not isinstance(value, nn.Module):
                found.update(_within(value, f"{prefix}.{name}".lstrip("."), DEPTH))
    return {path: parameter for path, parameter in found.items() if id(parameter) not in known}


def _within(value: Any, path: str, depth: int) -> Iterator[tuple[str, nn.Parameter]]:
    if isinstance(value, nn.Parameter):
        yield path, value
    elif isinstance(value, nn.Module):
        yield from ((f"{path}.{rest}", p) for rest, p in value.named_parameters())
    elif depth == 0 or isinstance(value, Tensor | str | bytes | type):
        return
    elif isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _within(item, f"{path}[{key}]", depth - 1)
    elif isinstance(value, FunctionType):
        for name, item in getclosurevars(value).nonlocals.items():
            yield from _within(item, f"{path}, {name}", depth - 1)
    elif type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
        for name, item in vars(value).items():
            yield from _within(item, f"{path}.{name}", depth - 1)


def _foreign(model: nn.Module, ran: list[nn.Module]) -> list[nn.Module]:
    """Of the modules that ran, those with parameters of their own that the model doesn't have."""
    own = set(model.modules())
    known = {id(parameter) for parameter in model.parameters()}
    return [
        module
        for module in dict.fromkeys(ran)
        if module not in own and any(id(p) not in known for p in module.parameters(recurse=False))
    ]


def _leaves(outputs: Tensor) -> Iterator[Tensor]:
    """The tensors that require a gradient and that the outputs were computed from."""
    pending: list[Any] = [outputs.grad_fn]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            yield node.variable
        pending.extend(parent for parent, _ in node.next_functions)
