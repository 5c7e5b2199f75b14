"""Training for some epochs, with an evaluation on the validation split after each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from nnrecipe.core.progress import Progress
from nnrecipe.core.seeding import generator, seed_everything
from nnrecipe.data import DataBundle
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.spec import TrainingSpec
from nnrecipe.training.steps import StepRecord, train_steps


class Monitored(TypedDict):
    """The figures of a sampled step; all but the loss by parameter path."""

    batch_loss: float
    update_ratio: dict[str, float]
    gradient_norm: dict[str, float]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: running means over its training steps, and an evaluation after the last.

    `diverged_at` is the step at which the loss ceased to be finite; the epoch ends there, without
    an evaluation. `monitored` maps sampled steps to their figures.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    penalty: float
    validation: Evaluation | None
    rate_factor: float
    seconds: float
    diverged_at: int | None
    monitored: dict[int, Monitored]


@dataclass
class _Sums:
    """An epoch's steps. The tensors stay on the device until somebody has to wait anyway."""

    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rate_factor: float = 1.0
    monitored: dict[int, Monitored] = field(default_factory=dict)

    def add(self, record: StepRecord) -> None:
        self.losses.append(record.loss)
        self.correct.append(record.correct)
        self.sizes.append(record.examples)
        self.rate_factor = record.rate_factor
        if record.penalty is not None:
            self.penalties.append(record.penalty)
        if record.sample is not None:
            ratios, norms = record.sample.by_path()
            self.monitored[record.step] = {
                "batch_loss": record.loss.item(),
                "update_ratio": ratios,
                "gradient_norm": norms,
            }

    def first_non_finite(self) -> int | None:
        """The index of the first loss that is not finite."""
        broken = (~torch.isfinite(torch.stack(self.losses))).nonzero()
        return int(broken[0]) if len(broken) else None

    def means(self) -> tuple[float, float, float]:
        """(loss, accuracy, penalty), each the mean over the examples seen."""
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        loss = float((torch.stack(self.losses).cpu().double() * sizes).sum() / sizes.sum())
        accuracy = float(torch.stack(self.correct).sum()) / float(sizes.sum())
        penalty = float(torch.stack(self.penalties).mean()) if self.penalties else 0.0
        return loss, accuracy, penalty


def fit(
    setup: TrainSetup,
    data: DataBundle,
    training: TrainingSpec,
    *,
    seed: int,
    progress: Progress,
) -> Iterator[EpochRecord]:
    """Train epoch by epoch; stops by itself only when the loss is no longer finite.

    Every epoch draws its order, augmentation and dropout from seeds of its own, so an epoch comes
    out the same whether or not its predecessors ran in the same process.
    """
    per_epoch = data.steps_per_epoch(training.batch_size)
    for epoch in range(1, training.epochs + 1):
        started = time.perf_counter()
        seed_everything(seed, "epoch", epoch)
        batches = data.training_batches(
            training.batch_size,
            generator=generator(seed, "order", epoch),
            shuffle=training.shuffle,
        )
        sums, first_step = _Sums(), (epoch - 1) * per_epoch
        for record in train_steps(setup, batches, first_step=first_step):
            sums.add(record)
            progress.advance()
            if record.sample is not None and sums.first_non_finite() is not None:
                break
        loss, accuracy, penalty = sums.means()
        broken = sums.first_non_finite()
        yield EpochRecord(
            epoch=epoch,
            step=first_step + len(sums.sizes),
            train_loss=loss,
            train_accuracy=accuracy,
            penalty=penalty,
            validation=validate(setup, data, training) if broken is None else None,
            rate_factor=sums.rate_factor,
            seconds=time.perf_counter() - started,
            diverged_at=None if broken is None else first_step + broken,
            monitored=sums.monitored,
        )
        if broken is not None:
            return


def validate(setup: TrainSetup, data: DataBundle, training: TrainingSpec) -> Evaluation:
    """Evaluate on the validation split."""
    return evaluate(
        setup.model,
        data.batches(data.val, max(training.batch_size, 256)),
        setup.loss,
        num_classes=len(data.classes),
        precision=setup.precision,
    )
