"""Repeats an epoch that went wrong, up to the step where it did, to see what was first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nnrecipe.data.batch import Batch
from nnrecipe.losses import module_of
from nnrecipe.training.origin import Inspector, Origin, Place, inspecting, is_finite
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import StepRecord, train_steps


class Snapshot:
    """The state of a model, its loss and its optimizer, kept on the CPU."""

    def __init__(self, setup: TrainSetup) -> None:
        self._setup = setup
        self._values = [_kept(tensor) for tensor in _state(setup)]
        self._optimizer = tree_map(_kept, setup.optimizer.state_dict())

    @torch.no_grad()
    def restore(self) -> None:
        """Bring everything back to how it was."""
        for tensor, value in zip(_state(self._setup), self._values, strict=True):
            tensor.copy_(value)
        self._setup.optimizer.load_state_dict(tree_map(_kept, self._optimizer))


def _state(setup: TrainSetup) -> list[Tensor]:
    modules = [m for m in (setup.model, module_of(setup.loss)) if m is not None]
    return [t for module in modules for t in (*module.parameters(), *module.buffers())]


def _kept(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


@dataclass
class _Tape:
    """Batches as they pass; it has those of the current step."""

    batches: Iterable[Batch]
    current: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.current.append(batch)
            yield batch


def find_origin(
    setup: TrainSetup, batches: Iterable[Batch], *, first_step: int, broken: int
) -> Origin | None:
    """Repeat the steps of an epoch up to `broken`, and tell what was not finite first in it.

    `setup` and the global generators have to be as they were at the epoch's `first_step`; `broken`
    counts from there, and is the first step whose loss isn't finite. The fault may lie in the step
    before it, whose update broke the weights. None if it can't be repeated: a module with a state
    of its own, say, that no snapshot holds.
    """
    tape = _Tape(batches)
    steps = train_steps(
        replace(setup, monitor_every=None, forward=None), tape, first_step=first_step
    )
    for _ in islice(steps, max(0, broken - 1)):
        tape.current.clear()
    for step in range(max(0, broken - 1), broken + 1):
        tape.current.clear()
        found = _inspect(steps, tape, setup.model, step=first_step + step)
        if found is not None:
            return found
    return None


def _inspect(
    steps: Iterator[StepRecord], tape: _Tape, model: nn.Module, *, step: int
) -> Origin | None:
    with inspecting(model, step=step) as inspector:
        if next(steps, None) is None:
            return None
    return _blamed_on_data(inspector, tape.current) or inspector.found


def _blamed_on_data(inspector: Inspector, batches: Iterable[Batch]) -> Origin | None:
    """The batch as the origin, where it isn't finite and something came of that."""
    if inspector.found is None:
        return None
    for inputs, targets in batches:
        for place, values in ((Place.INPUTS, inputs), (Place.TARGETS, targets)):
            if not is_finite(values):
                return Origin(inspector.step, place)
    return None
