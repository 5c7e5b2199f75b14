"""What a training may have lacked: train on without it, and see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count, islice

from nnrecipe.core.seeding import generator, seed_everything
from nnrecipe.data import DataBundle
from nnrecipe.data.batch import Batch
from nnrecipe.regularization import Penalty
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import validate
from nnrecipe.training.setup import CONSTANT, Limits, TrainSetup
from nnrecipe.training.spec import TrainingSpec
from nnrecipe.training.steps import train_steps

USUAL_EPS, USUAL_MOMENTUM = 1e-8, 0.9


class Suspect(StrEnum):
    """What may have held a training back."""

    LENGTH = "length"
    SCHEDULE = "schedule"
    CLIPPING = "clipping"
    EPS = "eps"
    MOMENTUM = "momentum"
    DECAY = "decay"


@dataclass(frozen=True)
class Further:
    """How validation ended after so many `steps` more, without the suspect."""

    suspect: Suspect
    steps: int
    ended: Evaluation


def train_further(
    setup: TrainSetup,
    data: DataBundle,
    training: TrainingSpec,
    suspect: Suspect,
    *,
    seed: int,
    epoch: int,
    steps: int,
) -> Further | None:
    """Train on after the last `epoch`, at the rate before any schedule, and validate the model.

    Changes the model, the optimizer and the global generators. None if the loss ceased to be
    finite.
    """
    freed = _without(suspect, replace(setup, schedule=CONSTANT, monitor_every=None))
    batches = _batches(data, training, seed=seed, epoch=epoch)
    for _ in islice(train_steps(freed, batches), steps):
        pass
    ended = validate(freed, freed.model, data)
    return Further(suspect, steps, ended) if math.isfinite(ended.loss) else None


def _batches(data: DataBundle, training: TrainingSpec, *, seed: int, epoch: int) -> Iterator[Batch]:
    """The batches of the epochs after `epoch`, without end."""
    for number in count(epoch + 1):
        seed_everything(seed, "epoch", number)
        yield from data.training_batches(
            training.batch_size,
            generator=generator(seed, "order", number),
            shuffle=training.shuffle,
        )


def _without(suspect: Suspect, setup: TrainSetup) -> TrainSetup:
    groups = setup.optimizer.param_groups
    if suspect is Suspect.CLIPPING:
        return replace(setup, limits=Limits(weight_norm=setup.limits.weight_norm))
    if suspect is Suspect.DECAY:
        for group in groups:
            group["weight_decay"] = 0.0
        return replace(setup, penalty=Penalty())
    if suspect is Suspect.EPS:
        for group in groups:
            group["eps"] = USUAL_EPS
    elif suspect is Suspect.MOMENTUM:
        for group in groups:
            if "betas" in group:
                group["betas"] = (USUAL_MOMENTUM, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = USUAL_MOMENTUM
        for state in setup.optimizer.state.values():
            state.pop("momentum_buffer", None)
    return setup
