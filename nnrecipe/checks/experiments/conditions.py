"""The scene of an experiment: the recipe's training as it is, and how to change one thing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import islice

import torch
from torch import nn

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.seeding import generator
from nnrecipe.data.batch import Batch
from nnrecipe.init import Init
from nnrecipe.schedulers import Multiplier
from nnrecipe.training.trial import Conditions

HELD = 512
"""Training examples on which a short training is judged."""


@dataclass(frozen=True)
class Scene:
    """A bench, the learning rate that training begins with, its schedule, and the steps to take.

    `suggested` is the rate that the probe found, None if it found none or didn't run.
    """

    bench: Bench
    rate: float
    suggested: float | None
    schedule: Multiplier
    steps: int

    @cached_property
    def batches(self) -> list[Batch]:
        """The first batches of training, in its order."""
        return self.training_batches(self.bench.batch_size, shuffle=self.bench.shuffle)

    @cached_property
    def held(self) -> Batch:
        """Training examples, never augmented."""
        return self.bench.sample(self.bench.data.train, HELD)

    def training_batches(self, batch_size: int, *, shuffle: bool) -> list[Batch]:
        """One batch a step, of as many epochs as it takes."""
        found, epoch = list[Batch](), 0
        while len(found) < self.steps:
            draw = generator(self.bench.seed, "experiment", epoch)
            batches = self.bench.data.training_batches(batch_size, generator=draw, shuffle=shuffle)
            found += islice(batches, self.steps - len(found))
            epoch += 1
        return found

    def conditions(
        self,
        *,
        model: nn.Module | None = None,
        rate: float | None = None,
        regularized: bool = True,
        init: Init | None = None,
    ) -> Conditions:
        """The recipe's own, from its initial weights, but for what is said."""
        if model is None:
            model = self.bench.make_model() if init is None else self.bench.make_variant(init=init)
        setup = self.bench.setup(
            model, lr=rate or self.rate, regularized=regularized, schedule=self.schedule
        )
        return Conditions(setup, self.batches)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The recipe's optimizer on a model of its own, to be looked at."""
        return self.bench.make_optimizer(self.bench.make_model(), lr=self.rate)


@dataclass(frozen=True)
class Suspect:
    """A change of the conditions that removes one possible cause.

    `remove` returns the changed conditions, the cause that a success proves and the change of the
    config that does the same; None where there is nothing of it to remove. `others` are causes that
    the same experiment can prove, so that a finding of one calls for it.
    """

    label: str
    cause: Cause
    _: KW_ONLY
    remove: Callable[[Scene], Removal | None]
    advice: str
    source: str
    others: frozenset[Cause] = frozenset()

    @property
    def causes(self) -> frozenset[Cause]:
        """What a success may prove."""
        return self.others | {self.cause}


@dataclass(frozen=True)
class Removal:
    """Conditions without the suspect; `cause`, where it isn't the suspect's first one."""

    conditions: Conditions
    change: tuple[str, ...] = ()
    cause: Cause | None = None
