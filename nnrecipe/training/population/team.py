"""What trains some of a population's replicas side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from nnrecipe.data.batch import Batch

Feed = Batch | Sequence[Batch]
"""One batch for all replicas, or one for each, in the replicas' order."""


class TeamOutcome(NamedTuple):
    """A team's step: losses [k] before it, and how many examples are right [k], if that counts."""

    losses: Tensor
    correct: Tensor | None


class Team(Protocol):
    """Some replicas in training."""

    @property
    def members(self) -> Sequence[int]:
        """Their indices in the population."""

    def step(self, step: int, group: Sequence[Feed]) -> TeamOutcome:
        """One optimizer step of every member on the batches of a group."""

    def write_back(self) -> None:
        """Leave weights, buffers and the optimizers' state where a training alone leaves them."""
