"""What all schedulers share: a clock, and a warm-up before it starts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from nnrecipe.core.spec import Spec
from nnrecipe.schedulers.duration import Duration, in_steps
from nnrecipe.schedulers.warmup import Warmup, warmup_steps


class Moment(NamedTuple):
    """A schedule's clock: `step` (0 for the first) out of `total_steps`, both after the warm-up."""

    step: int
    total_steps: int
    steps_per_epoch: int

    @property
    def share(self) -> float:
        """How much of the schedule is over, 0 to 1."""
        return min(self.step / self.total_steps, 1.0)

    @property
    def epoch(self) -> int:
        """The epochs completed."""
        return self.step // self.steps_per_epoch

    def steps(self, duration: Duration) -> int:
        """The optimizer steps that `duration` means."""
        return in_steps(duration, steps_per_epoch=self.steps_per_epoch)


class Schedule(Spec):
    """A schedule of the learning rate, after an optional linear warm-up.

    The clock starts when the warm-up ends: steps, milestones and epochs count from there, and what
    spans the whole training spans what remains. Goyal et al. 2017, section 2.2.
    """

    kind: str
    warmup: Warmup = 0

    def build(self, total_steps: int, *, steps_per_epoch: int) -> Multiplier:
        """Step -> factor on the learning rate, for a training of `total_steps` optimizer steps.

        Raises `UserError` if the warm-up leaves no step.
        """
        warm = warmup_steps(self.warmup, total_steps, steps_per_epoch=steps_per_epoch)
        start = Moment(0, total_steps - warm, steps_per_epoch)
        return Multiplier(schedule=self, start=start, warmup_steps=warm)

    def cycle(self, number: int, now: Moment) -> int | None:  # noqa: ARG002
        """How many steps the cycle of this number (0 for the first) has; None without cycles."""
        return None

    @abstractmethod
    def at(self, now: Moment) -> float:
        """The factor on the learning rate, the warm-up aside."""


@dataclass(frozen=True)
class Multiplier:
    """Step (0 for the first) -> factor on the learning rate. Any step, in any order; picklable."""

    schedule: Schedule
    start: Moment
    warmup_steps: int

    def __call__(self, step: int) -> float:
        """The warm-up climbs to where the schedule starts, and is never 0: no step is wasted."""
        if step < self.warmup_steps:
            return self.schedule.at(self.start) * (step + 1) / (self.warmup_steps + 1)
        return self.schedule.at(self.start._replace(step=step - self.warmup_steps))

    def cycle_ends(self) -> list[int] | None:
        """The steps that are over at each whole cycle's end; None without cycles."""
        ends, end = list[int](), 0
        for number in count():
            steps = self.schedule.cycle(number, self.start)
            if steps is None:
                return None
            end += steps
            if end > self.start.total_steps:
                return ends
            ends.append(self.warmup_steps + end)
        return ends

    def observe(self, step: int, figures: Mapping[str, float]) -> None:
        """Take in an epoch's figures, `step` steps into the training; only `plateau` heeds them."""
