"""What comes out of a block as it went in: random generators, and all that a loss has at hand."""

from __future__ import annotations

import copy
import functools
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.targets import is_own_file

_DEEPEST, _WIDEST = 8, 256
"""How many references away from an owner, and in how long a list, something is looked for."""
_OPAQUE = (Tensor, np.ndarray, str, bytes, int, float, complex, type, ModuleType)
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
_CONTAINERS = (list, dict, OrderedDict, defaultdict, set, deque)

Restore = Callable[[], None]


@contextmanager
def untouched(*loaders: object, functions: Iterable[object] = ()) -> Iterator[None]:
    """Run a block; then the global generators, and those that the owners hold, are as before.

    The generators of loaders are their own and those of samplers, Datasets and transforms. Of
    functions, that is losses and hooks, tensors and modules come back as well (values, gradients,
    buffers, modes), and the lists, dicts and sets which they fill. What they reach is what they
    close over, their defaults, the globals that they name, and the object that a method is bound
    to. A number that they count up, or a file that they write, stays as the block leaves it.
    """
    at_hand = list(_reached(functions))
    restores = [restore for item in _reached(loaders) for restore in _of_generator(item)]
    restores += [restore for item in at_hand for restore in _of_generator(item)]
    restores += [restore for item in at_hand for restore in _of_containers(item)]
    restores += _of_states(at_hand)
    with isolated_rng(0, "checkup"):
        try:
            yield
        finally:
            for restore in restores:
                restore()


def _of_generator(item: Any) -> Iterator[Restore]:
    """What brings a generator back to where it is now."""
    if isinstance(item, random.Random):
        yield functools.partial(item.setstate, item.getstate())
    elif isinstance(item, torch.Generator | np.random.RandomState):
        yield functools.partial(_set_state, item, item.get_state())
    elif isinstance(item, np.random.Generator):
        yield functools.partial(_set_bits, item, item.bit_generator.state)


def _set_state(generator: torch.Generator | np.random.RandomState, state: Any) -> None:
    generator.set_state(state)


def _set_bits(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


def _of_states(items: Iterable[object]) -> Iterator[Restore]:
    """What gives tensors, and all that modules have, their values, gradients and modes of now."""
    modules, tensors = dict[int, nn.Module](), dict[int, Tensor]()
    for item in items:
        if isinstance(item, nn.Module):
            modules |= {id(module): module for module in item.modules()}
            tensors |= {id(own): own for own in (*item.parameters(), *item.buffers())}
        elif isinstance(item, Tensor):
            tensors[id(item)] = item
    for module in modules.values():
        yield functools.partial(setattr, module, "training", module.training)
        # An assignment, as that of a moving average, puts another tensor in a buffer's place.
        yield functools.partial(module._buffers.update, dict(module._buffers))
    for tensor in tensors.values():
        yield from _of_tensor(tensor)


def _of_tensor(tensor: Tensor) -> Iterator[Restore]:
    if is_lazy(tensor) or tensor.is_meta or tensor.layout is not torch.strided:
        return
    yield functools.partial(_set_values, tensor, tensor.detach().clone())
    if tensor.is_leaf:
        grad = tensor.grad
        yield functools.partial(setattr, tensor, "grad", grad)
        if grad is not None:
            yield functools.partial(_set_values, grad, grad.detach().clone())


@torch.no_grad()
def _set_values(tensor: Tensor, values: Tensor) -> None:
    """Nothing is written where nothing has changed: a graph that needs the tensor stays of use."""
    if not torch.equal(tensor, values):
        tensor.copy_(values)


def _of_containers(item: Any) -> Iterator[Restore]:
    """What gives the containers in a function's reach the items of now, which aren't copied."""
    if not isinstance(item, FunctionType | functools.partial):
        return
    held = [each for each in _referred(item) if type(each) in _CONTAINERS]
    held += [inner for each in held for inner in _referred(each) if type(inner) in _CONTAINERS]
    for container in held:
        yield functools.partial(_refill, container, copy.copy(container))


def _refill(container: Any, items: Any) -> None:
    container.clear()
    fill = container.extend if isinstance(container, list | deque) else container.update
    fill(items)


def _reached(owners: Iterable[object]) -> Iterator[Any]:
    """All within reach of the owners, each once."""
    seen: set[int] = set()
    layer: list[object] = list(owners)
    kept: list[object] = []  # what is made on the way must live, or another gets its id
    for _ in range(_DEEPEST):
        below: list[object] = []
        for item in layer:
            if id(item) in seen or item is None:
                continue
            seen.add(id(item))
            kept.append(item)
            yield item
            if not isinstance(item, _OPAQUE + _GENERATORS):
                below += _referred(item)
        layer = below


def _referred(item: Any) -> list[object]:
    """What an object holds: its items, its attributes, what a function has at hand."""
    if isinstance(item, dict):
        return list(item.values()) if len(item) <= _WIDEST else []
    if isinstance(item, list | tuple | set | frozenset | deque):
        return list(item) if len(item) <= _WIDEST else []
    if isinstance(item, MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, FunctionType):
        return _at_hand(item)
    return list(vars(item).values()) if hasattr(item, "__dict__") else []


def _at_hand(function: FunctionType) -> list[object]:
    """What a function closes over, its defaults, and the globals that it names.

    Not the globals of an installed package's, which are no affair of the user's.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    names, known = function.__code__.co_names, function.__globals__
    typed_in = function.__code__.co_filename.startswith("<")  # in a notebook, say
    own = typed_in or is_own_file(function.__code__.co_filename)
    return cells + defaults + [known[name] for name in names if own and name in known]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
