"""Learning rates that rise again: warm restarts, and cycles between two bounds."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from nnrecipe.core.errors import conflict
from nnrecipe.core.spec import Count, Probability
from nnrecipe.schedulers.decay import Gamma, MinFactor
from nnrecipe.schedulers.duration import Duration
from nnrecipe.schedulers.schedule import Moment, Schedule


class CosineRestarts(Schedule):
    """Half a cosine down to `min_factor`, and again from the top, each time for longer: SGDR."""

    source: ClassVar[str] = "Loshchilov & Hutter 2017, section 3"

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    period: Duration = Field(
        "10 epochs", description="the first period, in optimizer steps or '10 epochs'"
    )
    period_factor: Count = Field(
        2, description="each period is so many times as long as the one before"
    )
    min_factor: MinFactor = 0.0

    def cycle(self, number: int, now: Moment) -> int:
        """The period of this number, in steps."""
        steps: int = now.steps(self.period) * self.period_factor**number
        return steps

    def at(self, now: Moment) -> float:
        """`min_factor + (1 - min_factor) * (1 + cos(pi * share of the period)) / 2`."""
        step, period = now.step, now.steps(self.period)
        if self.period_factor == 1:
            step %= period
        while step >= period:
            step, period = step - period, period * self.period_factor
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * step / period)) / 2


class Cyclic(Schedule):
    """Straight up from `base_factor` to lr and down again, over and over."""

    source: ClassVar[str] = "Smith 2017, section 3"

    kind: Literal["cyclic"] = "cyclic"
    base_factor: Probability = Field(0.1, description="where a cycle starts, as a factor on lr")
    step_size_up: Duration = Field(
        "4 epochs", description="the way up, in optimizer steps or '4 epochs'"
    )
    step_size_down: Duration | None = Field(
        None, description="the way down, in optimizer steps or '4 epochs'; null for as long as up"
    )
    mode: Literal["triangular", "triangular2", "exp_range"] = Field(
        "triangular",
        description="the cycles' height: always the same, halved after each cycle, or multiplied "
        "by gamma at each step",
    )
    gamma: Gamma = Field(1.0, description="exp_range: factor on a cycle's height at each step")

    @model_validator(mode="after")
    def _gamma_goes_with_exp_range(self) -> Self:
        if self.mode == "exp_range" and self.gamma == 1:
            message = "exp_range with a gamma of 1 is triangular"
            raise conflict("scheduler.gamma", message, "set it, to 0.9999 say")
        if self.mode != "exp_range" and self.gamma != 1:
            message = f"{self.mode} has no gamma, and it is {self.gamma:g}"
            raise conflict("scheduler.gamma", message, "leave it out, or set mode to exp_range")
        return self

    def cycle(self, number: int, now: Moment) -> int:  # noqa: ARG002
        """The way up and down, in steps."""
        return sum(self._ways(now))

    def at(self, now: Moment) -> float:
        """`base_factor + (1 - base_factor) * height`, where the height is 0 to 1 and back."""
        up, down = self._ways(now)
        cycle, step = divmod(now.step, up + down)
        height = step / up if step <= up else 1 - (step - up) / down
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**now.step
        return self.base_factor + (1 - self.base_factor) * height

    def _ways(self, now: Moment) -> tuple[int, int]:
        """The steps up and down."""
        up = now.steps(self.step_size_up)
        return up, up if self.step_size_down is None else now.steps(self.step_size_down)
