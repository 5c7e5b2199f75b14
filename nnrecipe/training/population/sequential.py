"""One replica, trained by the plain loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from nnrecipe.data.batch import Batch
from nnrecipe.training.population.team import Feed, TeamOutcome
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import train_steps


class Alone:
    """A team of one, which `train_steps` trains. It takes whatever `train_steps` does."""

    def __init__(self, setup: TrainSetup, *, member: int, first_step: int) -> None:
        self.members = (member,)
        self._queue = _Queue()
        unwatched = replace(setup, monitor_every=None)
        self._records = train_steps(unwatched, self._queue, first_step=first_step)

    def step(self, step: int, group: Sequence[Feed]) -> TeamOutcome:
        """One turn of the loop, which takes the whole group from the queue."""
        (member,) = self.members
        self._queue.extend(feed if isinstance(feed, Batch) else feed[member] for feed in group)
        record = next(self._records)
        assert record.step == step, "the loop and the population count alike"
        correct = None if record.correct is None else record.correct.reshape(1)
        return TeamOutcome(record.loss.reshape(1), correct)

    def write_back(self) -> None:
        """Everything is in its place already."""


class _Queue(deque[Batch]):
    """Batches that wait; unlike a deque's own iterator, this one goes on after it has run dry."""

    def __iter__(self) -> _Queue:
        return self

    def __next__(self) -> Batch:
        if not self:
            raise StopIteration
        return self.popleft()
