"""A trial: settings that are tried with one seed, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

Ended = Literal["finished", "halved", "exploded", "stalled", "refused"]
"""How a training ended: at its last epoch, at a rung from which others went on, at a loss out of
bounds, without any fall of the loss, or not begun, since its settings can't be combined."""

EXPLODED = 3.0
"""The multiple of the initial loss from which a training is given up (lecture)."""
STALLED = 0.99
"""The share of the initial loss above which the loss counts as not fallen at all."""


@dataclass(frozen=True)
class Job:
    """One training: the trial's number, the config's values by path, and the seed.

    `epochs` are trained of those that the values' own schedule has. A `known` job's result is on
    the disk already: it is trained only where others, whose sums are rounded in its company, are
    not known.
    """

    trial: int
    values: Mapping[str, Any]
    seed: int
    epochs: int
    keep_state: bool = False
    known: bool = False


@dataclass(frozen=True)
class JobResult:
    """What came of a job: the figures after each epoch, and the model of the best of them.

    `best` is the index of the best epoch, None where none was evaluated. `reason` says why
    settings were refused. `state` is kept only on request.
    """

    trial: int
    seed: int
    ended: Ended
    figures: tuple[Mapping[str, float], ...] = ()
    best: int | None = None
    seconds: float = 0.0
    reason: str = ""
    state: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)


class TrainJobs(Protocol):
    """An engine at work."""

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """The result of each job that isn't known, as soon as it is there, in any order."""

    def close(self) -> None:
        """Let go of what it holds, processes say."""
