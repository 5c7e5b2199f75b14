"""Training for some epochs, with an evaluation on the validation split after each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nnrecipe.core.device import evaluation_batch
from nnrecipe.core.progress import Progress
from nnrecipe.core.seeding import derive_seed, generator, seed_everything
from nnrecipe.core.world import ALONE, World
from nnrecipe.data import DataBundle
from nnrecipe.data.batch import Batch
from nnrecipe.training.averaging import Average, recompute_statistics
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.monitors import Reading
from nnrecipe.training.origin import Origin
from nnrecipe.training.replay import Snapshot, find_origin
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.spec import TrainingSpec
from nnrecipe.training.steps import StepRecord, train_steps


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: running means over its training steps, and an evaluation after the last.

    `diverged_at` is the step at which the loss ceased to be finite; the epoch ends soon after it,
    without an evaluation. `origin` is what was not finite first, where that could be found out.
    `losses` are those of its steps, `monitored` maps sampled steps to their figures.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float | None
    penalty: float
    validation: Evaluation | None
    rate_factor: float
    seconds: float
    diverged_at: int | None
    monitored: dict[int, Reading]
    losses: tuple[float, ...] = ()
    origin: Origin | None = None

    def figures(self) -> dict[str, float]:
        """Loss and scores by the names that `report.json` uses."""
        found = {"train_loss": self.train_loss}
        if self.train_accuracy is not None:
            found["train_accuracy"] = self.train_accuracy
        if self.validation is not None:
            found |= {f"val_{name}": value for name, value in self.validation.figures().items()}
        return found


@dataclass
class _Sums:
    """An epoch's steps. The tensors stay on the device until somebody has to wait anyway."""

    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rate_factor: float = 1.0
    monitored: dict[int, Reading] = field(default_factory=dict)

    def add(self, record: StepRecord) -> None:
        self.losses.append(record.loss)
        if record.correct is not None:
            self.correct.append(record.correct)
        self.sizes.append(record.examples)
        self.rate_factor = record.rate_factor
        if record.penalty is not None:
            self.penalties.append(record.penalty)
        if record.sample is not None:
            self.monitored[record.step] = record.sample.read()

    def is_broken_at(self, record: StepRecord) -> bool:
        """Whether a step is known not to be finite: only a sampled one is looked at."""
        reading = self.monitored.get(record.step)
        return reading is not None and not math.isfinite(reading.batch_loss)

    def first_non_finite(self) -> int | None:
        """The index of the first loss that is not finite."""
        broken = (~torch.isfinite(torch.stack(self.losses))).nonzero()
        return int(broken[0]) if len(broken) else None

    def means(self) -> tuple[float, float | None, float]:
        """(loss, accuracy, penalty), each the mean over the examples seen."""
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        loss = float((torch.stack(self.losses).cpu().double() * sizes).sum() / sizes.sum())
        right = float(torch.stack(self.correct).sum()) if self.correct else None
        accuracy = None if right is None else right / float(sizes.sum())
        penalty = float(torch.stack(self.penalties).mean()) if self.penalties else 0.0
        return loss, accuracy, penalty


def fit(
    setup: TrainSetup,
    data: DataBundle,
    training: TrainingSpec,
    *,
    average: Average,
    seed: int,
    progress: Progress,
    after: EpochRecord | None = None,
) -> Iterator[EpochRecord]:
    """Train epoch by epoch; stops by itself only when the loss is no longer finite.

    Every epoch draws its order, augmentation and dropout from seeds of its own, so an epoch comes
    out the same whether or not its predecessors ran in the same process: `after` is the last of
    those that `setup` and `average` have behind them. Dropout in one process of several is not that
    in another. What is evaluated is the `average` of the
    weights.
    """
    if after is not None and after.diverged_at is not None:
        return
    world = setup.world
    done, first_step = (0, 0) if after is None else (after.epoch, after.step)
    for epoch in range(done + 1, training.epochs + 1):
        started = time.perf_counter()
        if setup.thaw is not None:
            setup.thaw(epoch)
        start = Snapshot(setup) if setup.monitor_every else None
        seed_everything(seed, "epoch", epoch, *_apart(world))
        data.restart(derive_seed(seed, "epoch", epoch))
        sums = _Sums()
        batches = epoch_batches(data, training, seed, epoch, world=world)
        for step in train_steps(setup, batches, first_step=first_step):
            sums.add(step)
            average.after_step()
            progress.advance()
            if sums.is_broken_at(step):
                break
        loss, accuracy, penalty = sums.means()
        broken = sums.first_non_finite()
        if broken is None and not has_finite_weights(setup.model):
            broken = len(sums.sizes)  # the next step's loss would be
        validation, origin = None, None
        if broken is None:
            average.after_epoch(epoch)
            if average.needs_statistics:
                again = epoch_batches(data, training, seed, epoch)
                recompute_statistics(average.model, again, precision=setup.precision)
            world.agree(average.model)
            validation = validate(setup, average.model, data)
        elif start is not None and world.is_alone:
            seed_everything(seed, "epoch", epoch)
            again = epoch_batches(data, training, seed, epoch)
            origin = _origin(setup, start, again, first_step=first_step, broken=broken)
        record = EpochRecord(
            epoch=epoch,
            step=first_step + len(sums.sizes),
            train_loss=loss,
            train_accuracy=accuracy,
            penalty=penalty,
            validation=validation,
            rate_factor=sums.rate_factor,
            seconds=time.perf_counter() - started,
            diverged_at=None if broken is None else first_step + broken,
            monitored=sums.monitored,
            losses=tuple(torch.stack(sums.losses).tolist()),
            origin=origin,
        )
        setup.schedule.observe(record.step, record.figures())
        yield record
        if broken is not None:
            return
        first_step = record.step


def _origin(
    setup: TrainSetup, start: Snapshot, batches: Iterator[Batch], *, first_step: int, broken: int
) -> Origin | None:
    """What was not finite first in the epoch that began with `start`; the state stays as it is."""
    end, found = Snapshot(setup), None
    # what the user's code may raise is no reason to lose a run, which is to be diagnosed
    with suppress(Exception):
        start.restore()
        found = find_origin(setup, batches, first_step=first_step, broken=broken)
    with suppress(Exception):
        end.restore()
    return found


def _apart(world: World) -> list[str | int]:
    """What makes the seeds of a process its own; nothing in the first, which draws as if alone."""
    return [] if world.is_first else ["process", world.rank]


def has_finite_weights(model: nn.Module) -> bool:
    """Whether all parameters are finite; one synchronisation."""
    finite = [torch.isfinite(parameter).all() for parameter in model.parameters()]
    return not finite or bool(torch.stack(finite).all())


def epoch_batches(
    data: DataBundle, training: TrainingSpec, seed: int, epoch: int, *, world: World = ALONE
) -> Iterator[Batch]:
    """The batches of an epoch, in the order and with the augmentation that are its own.

    Of each the process of a `world` gets its share.
    """
    return data.training_batches(
        training.batch_size,
        generator=generator(seed, "order", epoch),
        shuffle=training.shuffle,
        world=world,
    )


def validate(setup: TrainSetup, model: nn.Module, data: DataBundle) -> Evaluation:
    """Evaluate a model on the validation split."""
    return evaluate(
        model,
        data.batches(data.val, evaluation_batch(setup.device), world=setup.world),
        setup.loss,
        outputs=data.outputs,
        precision=setup.precision,
        world=setup.world,
    )
