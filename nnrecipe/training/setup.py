"""What it takes to train one model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from nnrecipe.core.device import Precision
from nnrecipe.core.shapes import Task
from nnrecipe.core.world import ALONE, World
from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable, TaskLosses
from nnrecipe.regularization import Penalty
from nnrecipe.regularization.mixing import Mixing
from nnrecipe.schedulers import Constant, Multiplier
from nnrecipe.training.sharing import Sharing

CONSTANT = Constant().build(1, steps_per_epoch=1)
"""The schedule that leaves the learning rate alone."""

Accumulate = int | Literal["epoch"]
"""How many batches make one optimizer step; `epoch`: all of them."""


@dataclass(frozen=True)
class Limits:
    """Bounds on a step: on the gradient's norm, on its entries, on the norms of the weights.

    `weight_norm` bounds the incoming weights of each unit. None leaves free.
    """

    gradient_norm: float | None = None
    gradient_value: float | None = None
    weight_norm: float | None = None


@dataclass(frozen=True)
class TrainSetup:
    """A model and everything that changes it; `train_steps` does the changing.

    `reevaluates` says that one step of the optimizer computes the loss several times. `forward` is
    the model compiled, for steps that nobody looks into; or, where several processes train it, what
    puts their gradients together. The `scaler` keeps the small gradients of fp16 from vanishing; in
    other formats it does nothing. `thaw`, called with the number of an epoch at its start, lets
    those parameters train that do in it.
    """

    model: nn.Module
    loss: LossCallable
    optimizer: torch.optim.Optimizer
    penalty: Penalty
    device: torch.device
    task: Task = "single_label"
    precision: Precision = "fp32"
    schedule: Multiplier = CONSTANT
    limits: Limits = field(default_factory=Limits)
    mixing: Mixing = field(default_factory=Mixing)
    accumulate: Accumulate = 1
    reevaluates: bool = False
    monitor_every: int | None = None
    forward: Callable[[Tensor], Tensor] | None = None
    world: World = ALONE
    thaw: Callable[[int], None] | None = None

    @cached_property
    def sharing(self) -> Sharing | None:
        """How several tasks pull at what they share; None of one task. Made anew likewise."""
        if not isinstance(self.loss, TaskLosses):
            return None
        return Sharing(list(self.model.parameters()), self.loss)

    @cached_property
    def scaler(self) -> GradScaler:
        """Made anew for each setup."""
        return GradScaler(self.device.type, enabled=self.precision == "fp16")


def grouped(batches: Iterable[Batch], accumulate: Accumulate) -> Iterator[list[Batch]]:
    """The batches of each optimizer step; the last one may have fewer."""
    source = iter(batches)
    while group := list(source if accumulate == "epoch" else islice(source, accumulate)):
        yield group
