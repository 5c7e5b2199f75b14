"""A ladder of learning rates, each tried for some steps from the same start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable
from nnrecipe.training.setup import TrainSetup, grouped
from nnrecipe.training.steps import train_steps

LOST = 10.0
"""A loss that grows to so many times its start has diverged, even if it should come back."""


class Band(StrEnum):
    """Where a learning rate lies."""

    TOO_LOW = "too low"
    GOOD = "good"
    UNSTABLE = "unstable"
    EXPLODING = "exploding"


@dataclass(frozen=True)
class Rung:
    """One learning rate, and the mean loss over the last batches at the start and at the end.

    Both are taken over the same batches, so their difference is what the training did. `end` is
    not finite where the training diverged.
    """

    rate: float
    start: float
    end: float

    @property
    def fall(self) -> float:
        """How far the loss fell; minus infinity where it diverged."""
        return self.start - self.end if math.isfinite(self.end) else -math.inf


def climb(setup: TrainSetup, batches: Sequence[Batch], *, rate: float, start: float) -> Rung:
    """Train one fresh setup on the batches, `setup.accumulate` of which make a step each.

    The last quarter of the steps gives the end.

    It is cut short, and has diverged, once a loss isn't finite or is `LOST` times the start.
    """
    groups = list(grouped(batches, setup.accumulate))
    tail = max(1, len(groups) // 4)
    losses: list[Tensor] = []
    for record in train_steps(setup, batches):
        losses.append(record.loss)
        at_end = record.step == len(groups) - 1
        if (record.step % 8 == 7 or at_end) and _lost(torch.stack(losses[-8:]), start):
            return Rung(rate, start, math.inf)
    return Rung(rate, start, torch.stack(losses[-tail:]).mean().item())


def _lost(losses: Tensor, start: float) -> bool:
    return not losses.max().item() <= LOST * max(abs(start), 1e-12)  # NaN is lost


def start_loss(model: nn.Module, loss: LossCallable, batches: Sequence[Batch]) -> float:
    """The initial mean loss over the last quarter of the batches, in training mode."""
    tail = batches[-max(1, len(batches) // 4) :]
    with torch.no_grad():
        model.train()
        return (
            torch.stack([loss(model(batch.inputs), batch.targets) for batch in tail]).mean().item()
        )


def bands(rungs: Sequence[Rung], *, least: float = 0.1, steady: float = 0.65) -> dict[float, Band]:
    """Sort rates into bands.

    Good: the loss fell by at least `least` of the fall that the best rate of the ladder made in as
    many steps; of a rate above the best one it takes `steady`, or it is unstable. Below the best
    rate the others are too low; above it, they explode. If the loss fell nowhere, those that raised
    it explode.
    """
    best = max(rungs, key=lambda rung: rung.fall)
    sorted_into = {}
    for rung in rungs:
        enough = best.fall > 0 and rung.fall >= least * best.fall
        if enough and rung.rate > best.rate and rung.fall < steady * best.fall:
            sorted_into[rung.rate] = Band.UNSTABLE
        elif enough:
            sorted_into[rung.rate] = Band.GOOD
        elif rung.rate > best.rate or rung.fall < -0.02 * abs(rung.start):
            sorted_into[rung.rate] = Band.EXPLODING
        else:
            sorted_into[rung.rate] = Band.TOO_LOW
    return sorted_into


def suggest(rungs: Sequence[Rung]) -> float | None:
    """The smallest rate whose fall is within a tenth of the best; None if no loss fell."""
    best = max((rung.fall for rung in rungs), default=0.0)
    if best <= 0:
        return None
    return min(rung.rate for rung in rungs if rung.fall >= 0.9 * best)


def rates(lowest: float, highest: float, *, per_decade: int) -> Iterator[float]:
    """Evenly spaced rates in log space, both ends included, rounded to three digits."""
    count = max(1, round(per_decade * math.log10(highest / lowest)))
    for index in range(count + 1):
        yield float(f"{lowest * (highest / lowest) ** (index / count):.3g}")
