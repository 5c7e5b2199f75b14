"""A learning rate that falls when training gets stuck."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import Fraction, NonNegativeFloat, NonNegativeInt
from nnrecipe.schedulers.decay import MinFactor
from nnrecipe.schedulers.schedule import Moment, Multiplier, Schedule


class Plateau(Schedule):
    """Multiplied by `factor` when a figure has not improved for more than `patience` epochs."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.ReduceLROnPlateau"

    kind: Literal["plateau"] = "plateau"
    monitor: Literal[
        "val_loss",
        "val_accuracy",
        "val_f1",
        "val_r2",
        "val_score",
        "train_loss",
        "train_accuracy",
    ] = Field("val_loss", description="the figure to watch: a loss should fall, the others rise")
    factor: Fraction = Field(0.1, description="factor of each decay")
    patience: NonNegativeInt = Field(
        10, description="epochs without improvement that are let pass; the next one decays"
    )
    threshold: NonNegativeFloat = Field(
        1e-4, description="an improvement is a change by more than this"
    )
    threshold_mode: Literal["rel", "abs"] = Field(
        "rel", description="the threshold's unit: a share of the best figure, or the figure's own"
    )
    cooldown: NonNegativeInt = Field(
        0, description="epochs after a decay in which none without improvement counts"
    )
    min_factor: MinFactor = 0.0

    def build(self, total_steps: int, *, steps_per_epoch: int) -> Multiplier:
        """Step -> factor on the learning rate, as far as the epochs observed so far decide it.

        Raises `UserError` if the warm-up leaves no step.
        """
        plain = super().build(total_steps, steps_per_epoch=steps_per_epoch)
        return WatchfulMultiplier(self, plain.start, plain.warmup_steps)

    def at(self, now: Moment) -> float:  # noqa: ARG002 - what was observed decides, not the clock
        """1: the decays are the multiplier's."""
        return 1.0

    def improves(self, figure: float, best: float | None) -> bool:
        """Whether the figure is better than the best so far by more than the threshold."""
        sign = -1 if self.monitor.endswith("loss") else 1
        if best is None:
            bound = -sign * math.inf
        elif self.threshold_mode == "rel":
            bound = best * (1 + sign * self.threshold)
        else:
            bound = best + sign * self.threshold
        return sign * figure > sign * bound


@dataclass
class _Course:
    """What the epochs so far came to; `decays` are the steps from which a new factor holds."""

    best: float | None = None
    waited: int = 0
    cooling: int = 0
    decays: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=lambda: [1.0])


@dataclass(frozen=True)
class WatchfulMultiplier(Multiplier):
    """A multiplier that decays by what it observes. What it said of past steps stays true.

    Epochs that end during the warm-up don't count.
    """

    schedule: Plateau
    course: _Course = field(default_factory=_Course)

    def __call__(self, step: int) -> float:
        """The warm-up, or the factor that held at the step."""
        return super().__call__(step) * self.course.factors[bisect_right(self.course.decays, step)]

    def observe(self, step: int, figures: Mapping[str, float]) -> None:
        """Take in an epoch's figures; a decay holds from `step` on, the number of steps so far.

        Raises `UserError` if the monitored figure is not among them, unless training diverged.
        """
        spec, course = self.schedule, self.course
        if step <= self.warmup_steps:
            return
        if spec.monitor not in figures:
            if not math.isfinite(figures.get("train_loss", math.nan)):
                return
            found = f"{spec.monitor} is not measured here, only {', '.join(figures)}"
            raise UserError(f"scheduler.monitor: {found}: watch one of these")
        if spec.improves(figures[spec.monitor], course.best):
            course.best, course.waited = figures[spec.monitor], 0
        else:
            course.waited += 1
        if course.cooling:
            course.cooling, course.waited = course.cooling - 1, 0
        if course.waited > spec.patience:
            course.decays.append(step)
            course.factors.append(max(course.factors[-1] * spec.factor, spec.min_factor))
            course.cooling, course.waited = spec.cooldown, 0
