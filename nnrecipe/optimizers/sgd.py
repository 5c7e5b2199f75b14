"""Gradient descent: over all training examples, or stochastic."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from nnrecipe.core.errors import conflict
from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Flag, NonNegativeFloat, Probability
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.learning_rate import LearningRate


class GradientDescent(Descent):
    """Full-batch gradient descent: one step an epoch, down the gradient of all examples."""

    source: ClassVar[str] = "lecture: gradient descent"
    full_batch: ClassVar[bool] = True

    kind: Literal["gd"] = "gd"
    lr: LearningRate = Field(0.1, description="learning rate, or auto for the probe's suggestion")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer, w <- w - lr * g; each group's own `lr` and `weight_decay` win."""
        return torch.optim.SGD(groups, lr=lr, fused=True)


class Sgd(Descent):
    """SGD, mini-batch SGD, momentum and Nesterov: a step down the gradient of each batch.

    v <- momentum * v + (1 - dampening) * g; w <- w - lr * v. Nesterov's form looks ahead. The
    size of the mini-batch is `training.batch_size`; 1 is SGD in the strict sense.
    """

    source: ClassVar[str] = "Sutskever et al. 2013, section 2"

    kind: Literal["sgd"] = "sgd"
    lr: LearningRate = Field(0.01, description="learning rate, or auto for the probe's suggestion")
    momentum: Probability = Field(0.0, description="share of the velocity kept at each step")
    dampening: Probability = Field(0.0, description="share of the gradient kept from the velocity")
    nesterov: Flag = Field(False, description="take the gradient where the momentum leads")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    @model_validator(mode="after")
    def _momentum_is_there(self) -> Self:
        add = "set optimizer.momentum, to 0.9 say, or leave this out"
        if self.nesterov and not self.momentum:
            raise conflict("optimizer.nesterov", "nesterov needs momentum, which is 0", add)
        if self.dampening and not self.momentum:
            raise conflict("optimizer.dampening", "dampening needs momentum, which is 0", add)
        if self.nesterov and self.dampening:
            message = f"nesterov and dampening {self.dampening:g} exclude each other"
            raise conflict("optimizer.dampening", message, "leave one of them out")
        return self

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.SGD(
            groups,
            lr=lr,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            fused=True,  # one kernel a step: three times as fast as the loop on a CPU
        )
