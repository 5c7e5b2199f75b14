"""Random generators that come out of a block as they went in, wherever the user keeps them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnrecipe.core.seeding import isolated_rng

_DEEPEST, _WIDEST = 8, 256
"""How many references away from a loader, and in how long a list, a generator is looked for."""
_OPAQUE = (Tensor, np.ndarray, str, bytes, int, float, complex, type, ModuleType)


@contextmanager
def untouched(*owners: object) -> Iterator[None]:
    """Run a block; then the global generators, and those that the owners hold, are as before.

    The owners are loaders: their generators, and those of their samplers, Datasets and transforms.
    """
    restores = [_restorer(generator) for generator in _generators(owners)]
    with isolated_rng(0, "checkup"):
        try:
            yield
        finally:
            for restore in restores:
                restore()


def _restorer(generator: Any) -> Callable[[], None]:
    """What brings a generator back to where it is now."""
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    if isinstance(generator, torch.Generator | np.random.RandomState):
        return functools.partial(_set_state, generator, generator.get_state())
    return functools.partial(_set_bits, generator, generator.bit_generator.state)


def _set_state(generator: torch.Generator | np.random.RandomState, state: Any) -> None:
    generator.set_state(state)


def _set_bits(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


_KINDS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def _generators(owners: tuple[object, ...]) -> Iterator[object]:
    """Every generator within reach of the owners, each once."""
    seen: set[int] = set()
    layer: list[object] = list(owners)
    kept: list[object] = []  # what is made on the way must live, or another gets its id
    for _ in range(_DEEPEST):
        below: list[object] = []
        for item in layer:
            if id(item) in seen or item is None or isinstance(item, _OPAQUE):
                continue
            seen.add(id(item))
            kept.append(item)
            if isinstance(item, _KINDS):
                yield item
            else:
                below += _referred(item)
        layer = below


def _referred(item: Any) -> list[object]:
    """What an object holds: its items, its attributes, what a function has closed over."""
    if isinstance(item, dict):
        return list(item.values()) if len(item) <= _WIDEST else []
    if isinstance(item, list | tuple | set | frozenset):
        return list(item) if len(item) <= _WIDEST else []
    if isinstance(item, MethodType):
        return [item.__self__]
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, FunctionType):
        return [cell.cell_contents for cell in item.__closure__ or () if _is_filled(cell)]
    return list(vars(item).values()) if hasattr(item, "__dict__") else []


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
