"""Learning rates that only fall: in steps, by epochs, or smoothly over the whole training."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nnrecipe.core.errors import conflict
from nnrecipe.core.spec import Count, PositiveFloat, Probability
from nnrecipe.schedulers.schedule import Moment, Schedule

Gamma = Annotated[float, Field(strict=True, gt=0, le=1, description="factor of each decay")]
MinFactor = Annotated[Probability, Field(description="where it ends, as a factor on lr")]


class Constant(Schedule):
    """The learning rate as it is."""

    kind: Literal["constant"] = "constant"

    def factor(self, now: Moment) -> float:  # noqa: ARG002 - the same at all times
        """1."""
        return 1.0


class Step(Schedule):
    """Multiplied by gamma every `step_size` steps."""

    kind: Literal["step"] = "step"
    step_size: Count = Field(description="optimizer steps between two decays")
    gamma: Gamma = 0.1

    def factor(self, now: Moment) -> float:
        """`gamma ^ floor(step / step_size)`."""
        return float(self.gamma ** (now.step // self.step_size))


class MultiStep(Schedule):
    """Multiplied by gamma at each milestone."""

    kind: Literal["multi_step"] = "multi_step"
    milestones: tuple[Count, ...] = Field(
        min_length=1, description="optimizer steps after the warm-up at which to decay, rising"
    )
    gamma: Gamma = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            message = f"milestones {list(self.milestones)} do not rise"
            raise conflict("scheduler.milestones", message, "sort them, each one once")
        return self

    def factor(self, now: Moment) -> float:
        """`gamma ^ (milestones reached)`."""
        return float(self.gamma ** bisect_right(self.milestones, now.step))


class Exponential(Schedule):
    """Multiplied by gamma once an epoch: the lecture's `learning_rate_decay`."""

    kind: Literal["exponential"] = "exponential"
    gamma: Gamma = 0.95

    def factor(self, now: Moment) -> float:
        """`gamma ^ (epochs completed)`."""
        return float(self.gamma**now.epoch)


class Linear(Schedule):
    """A straight line down to `min_factor` at the end of training."""

    kind: Literal["linear"] = "linear"
    min_factor: MinFactor = 0.0

    def factor(self, now: Moment) -> float:
        """`1 - (1 - min_factor) * share`."""
        return 1 - (1 - self.min_factor) * now.share


class Polynomial(Schedule):
    """A power of the share of training that is left, down to `min_factor`."""

    kind: Literal["polynomial"] = "polynomial"
    power: PositiveFloat = Field(2.0, description="exponent: 1 is linear, more falls earlier")
    min_factor: MinFactor = 0.0

    def factor(self, now: Moment) -> float:
        """`min_factor + (1 - min_factor) * (1 - share) ^ power`."""
        return float(self.min_factor + (1 - self.min_factor) * (1 - now.share) ** self.power)


class Cosine(Schedule):
    """Half a cosine down to `min_factor`. Loshchilov & Hutter 2017, one period."""

    kind: Literal["cosine"] = "cosine"
    min_factor: MinFactor = 0.0

    def factor(self, now: Moment) -> float:
        """`min_factor + (1 - min_factor) * (1 + cos(pi * share)) / 2`."""
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * now.share)) / 2
