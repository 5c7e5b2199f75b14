"""Optimizers that scale each parameter's step by the size of its past gradients."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Flag, NonNegativeFloat, PositiveFloat, Probability
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.learning_rate import LearningRate


class RmsProp(Descent):
    """Steps divided by the root of a running mean of squares."""

    source: ClassVar[str] = "Tieleman & Hinton 2012, lecture 6e"

    kind: Literal["rmsprop"] = "rmsprop"
    lr: LearningRate = Field(1e-3, description="learning rate, or auto for the probe's suggestion")
    alpha: Probability = Field(0.99, description="decay per step of the running square")
    eps: PositiveFloat = Field(1e-8, description="added to the root of the running square")
    momentum: Probability = Field(0.0, description="share of the velocity kept at each step")
    centered: Flag = Field(False, description="divide by the running deviation instead")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.RMSprop(
            groups,
            lr=lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            foreach=True,
        )


class Adagrad(Descent):
    """Steps divided by the root of the sum of all past squares."""

    source: ClassVar[str] = "Duchi et al. 2011"

    kind: Literal["adagrad"] = "adagrad"
    lr: LearningRate = Field(0.01, description="learning rate, or auto for the probe's suggestion")
    lr_decay: NonNegativeFloat = Field(0.0, description="at step t, lr / (1 + t * lr_decay)")
    initial_accumulator_value: NonNegativeFloat = Field(
        0.0, description="where the sum of squares starts"
    )
    eps: PositiveFloat = Field(1e-10, description="added to the root of the sum of squares")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.Adagrad(
            groups,
            lr=lr,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial_accumulator_value,
            eps=self.eps,
            foreach=True,
        )


class Adadelta(Descent):
    """Steps in the parameters' own units, from running squares of steps."""

    source: ClassVar[str] = "Zeiler 2012, algorithm 1"

    kind: Literal["adadelta"] = "adadelta"
    lr: LearningRate = Field(1.0, description="learning rate, or auto for the probe's suggestion")
    rho: Probability = Field(0.9, description="decay per step of the running squares")
    eps: PositiveFloat = Field(1e-6, description="added to the running squares under the root")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.Adadelta(groups, lr=lr, rho=self.rho, eps=self.eps, foreach=True)
