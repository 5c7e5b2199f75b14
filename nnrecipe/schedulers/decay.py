"""Learning rates that only fall: in steps, by epochs, or smoothly over the whole training."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nnrecipe.core.errors import conflict
from nnrecipe.core.spec import PositiveFloat, Probability
from nnrecipe.schedulers.duration import Duration, in_epochs
from nnrecipe.schedulers.schedule import Moment, Schedule

Gamma = Annotated[float, Field(strict=True, gt=0, le=1, description="factor of each decay")]
MinFactor = Annotated[Probability, Field(description="where it ends, as a factor on lr")]


class Constant(Schedule):
    """The learning rate as it is."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.ConstantLR"

    kind: Literal["constant"] = "constant"

    def at(self, now: Moment) -> float:  # noqa: ARG002 - the same at all times
        """1."""
        return 1.0


class Step(Schedule):
    """Multiplied by gamma once every `step_size`."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.StepLR"

    kind: Literal["step"] = "step"
    step_size: Duration = Field(
        description="from one decay to the next, in optimizer steps or '30 epochs'"
    )
    gamma: Gamma = 0.1

    def at(self, now: Moment) -> float:
        """`gamma ^ floor(step / step_size)`."""
        return float(self.gamma ** (now.step // now.steps(self.step_size)))


class MultiStep(Schedule):
    """Multiplied by gamma at each milestone."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.MultiStepLR; He et al. 2016, section 3.4"

    kind: Literal["multi_step"] = "multi_step"
    milestones: tuple[Duration, ...] = Field(
        min_length=1,
        description="when to decay, counted from the warm-up's end: optimizer steps or '30 epochs'",
    )
    gamma: Gamma = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        found = f"milestones {list(self.milestones)}"
        steps = [milestone for milestone in self.milestones if isinstance(milestone, int)]
        epochs = [in_epochs(text) for text in self.milestones if isinstance(text, str)]
        if steps and epochs:
            message = f"{found} mix steps and epochs"
            raise conflict("scheduler.milestones", message, "give all of them in one unit")
        if any(late <= early for early, late in pairwise(steps or epochs)):
            message = f"{found} do not rise"
            raise conflict("scheduler.milestones", message, "sort them, each one once")
        return self

    def at(self, now: Moment) -> float:
        """`gamma ^ (milestones reached)`."""
        return float(self.gamma ** sum(now.step >= now.steps(due) for due in self.milestones))


class Exponential(Schedule):
    """Multiplied by gamma once an epoch."""

    source: ClassVar[str] = "lecture: learning_rate_decay; torch.optim.lr_scheduler.ExponentialLR"

    kind: Literal["exponential"] = "exponential"
    gamma: Gamma = 0.95

    def at(self, now: Moment) -> float:
        """`gamma ^ (epochs completed)`."""
        return float(self.gamma**now.epoch)


class Linear(Schedule):
    """A straight line down to `min_factor` at the end of training."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.LinearLR"

    kind: Literal["linear"] = "linear"
    min_factor: MinFactor = 0.0

    def at(self, now: Moment) -> float:
        """`1 - (1 - min_factor) * share`."""
        return 1 - (1 - self.min_factor) * now.share


class Polynomial(Schedule):
    """A power of the share of training that is left, down to `min_factor`."""

    source: ClassVar[str] = "torch.optim.lr_scheduler.PolynomialLR"

    kind: Literal["polynomial"] = "polynomial"
    power: PositiveFloat = Field(2.0, description="exponent: 1 is linear, more falls earlier")
    min_factor: MinFactor = 0.0

    def at(self, now: Moment) -> float:
        """`min_factor + (1 - min_factor) * (1 - share) ^ power`."""
        return float(self.min_factor + (1 - self.min_factor) * (1 - now.share) ** self.power)


class Cosine(Schedule):
    """Half a cosine down to `min_factor` at the end of training."""

    source: ClassVar[str] = "Loshchilov & Hutter 2017, section 3, one period"

    kind: Literal["cosine"] = "cosine"
    min_factor: MinFactor = 0.0

    def at(self, now: Moment) -> float:
        """`min_factor + (1 - min_factor) * (1 + cos(pi * share)) / 2`."""
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * now.share)) / 2
