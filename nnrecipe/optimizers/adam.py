"""Adam and its kin: steps scaled by running moments of the gradient."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Flag, NonNegativeFloat, PositiveFloat, Probability
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.learning_rate import LearningRate

Betas = Annotated[
    tuple[Probability, Probability],
    Field(description="decay per step of the running mean and of the running square"),
]
Epsilon = Annotated[PositiveFloat, Field(description="added to the root of the running square")]


class Adam(Descent):
    """Momentum, with each step divided by the root of a running mean of squares.

    `weight_decay` is added to the gradient, and so scaled along with it.
    """

    source: ClassVar[str] = "Kingma & Ba 2015, algorithm 1"

    kind: Literal["adam"] = "adam"
    lr: LearningRate = Field(1e-3, description="learning rate, or auto for the probe's suggestion")
    betas: Betas = (0.9, 0.999)
    eps: Epsilon = 1e-8
    amsgrad: Flag = Field(False, description="never let the running square fall (Reddi 2018)")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.Adam(
            groups, lr=lr, betas=self.betas, eps=self.eps, amsgrad=self.amsgrad, fused=True
        )


class AdamW(Descent):
    """Adam with weight decay apart from the gradient: w <- w - lr * weight_decay * w."""

    source: ClassVar[str] = "Loshchilov & Hutter 2019, algorithm 2"

    kind: Literal["adamw"] = "adamw"
    lr: LearningRate = Field(1e-3, description="learning rate, or auto for the probe's suggestion")
    betas: Betas = (0.9, 0.999)
    eps: Epsilon = 1e-8
    amsgrad: Flag = Field(False, description="never let the running square fall (Reddi 2018)")
    weight_decay: NonNegativeFloat = Field(
        0.01, description="share of a weight that a step takes away, times lr"
    )

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.AdamW(
            groups, lr=lr, betas=self.betas, eps=self.eps, amsgrad=self.amsgrad, fused=True
        )


class NAdam(Descent):
    """Adam with Nesterov's momentum."""

    source: ClassVar[str] = "Dozat 2016"

    kind: Literal["nadam"] = "nadam"
    lr: LearningRate = Field(2e-3, description="learning rate, or auto for the probe's suggestion")
    betas: Betas = (0.9, 0.999)
    eps: Epsilon = 1e-8
    momentum_decay: NonNegativeFloat = Field(4e-3, description="how fast the momentum warms up")
    weight_decay: NonNegativeFloat = Field(0.0, description="factor on W in the weights' gradient")

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
        return torch.optim.NAdam(
            groups,
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            momentum_decay=self.momentum_decay,
            foreach=True,
        )
