"""The layers and blocks of a network by depth, as transfer counts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from nnrecipe.core.parameters import NORMS


@dataclass(frozen=True)
class Level:
    """A layer or a residual block: the path of its module, and of what belongs to it.

    `modules` are the paths of that module and of the norms right after it, `parameters` the paths
    of all of their parameters.
    """

    path: str
    modules: tuple[str, ...]
    parameters: tuple[str, ...]


def levels(model: nn.Module) -> list[Level]:
    """The levels from the inputs to the head, which is the last; each parameter is in one.

    They follow the order in which the network registers its modules. A container is taken apart:
    the network itself, `nn.Sequential`, `nn.ModuleList`, and whatever holds one of these and more
    than half of all parameters. Parameters right in a container make a level of their own.
    """
    found: list[Level] = []
    seen: set[nn.Parameter] = set()
    total = sum(parameter.numel() for parameter in model.parameters())
    for path, module, whole in _parts(model, "", total):
        own = module.named_parameters(recurse=whole)
        new = [(f"{path}.{name}".removeprefix("."), p) for name, p in own if p not in seen]
        seen.update(parameter for _, parameter in new)
        names = tuple(name for name, _ in new)
        if not names:
            continue
        if found and isinstance(module, NORMS):
            before = found[-1]
            found[-1] = Level(before.path, (*before.modules, path), before.parameters + names)
        else:
            found.append(Level(path, (path,) if whole else (), names))
    return found


def _parts(module: nn.Module, path: str, total: int) -> Iterator[tuple[str, nn.Module, bool]]:
    """(path, module, whether all of it is meant rather than its own parameters alone)."""
    if path and not _is_container(module, total):
        yield path, module, True
        return
    children = list(module.named_children())
    if not children:
        yield path, module, True
        return
    yield path, module, False
    for name, child in children:
        yield from _parts(child, f"{path}.{name}".removeprefix("."), total)


def _is_container(module: nn.Module, total: int) -> bool:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    holds = any(isinstance(child, nn.Sequential | nn.ModuleList) for child in module.children())
    return holds and 2 * sum(parameter.numel() for parameter in module.parameters()) > total
