"""A quasi-Newton method for the whole training set at once."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Count, NonNegativeFloat
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.learning_rate import LearningRate


class Lbfgs(Descent):
    """Limited-memory BFGS over all examples: the curvature is read off the past steps.

    One step is up to `max_iter` iterations, each with a line search that evaluates the loss.
    """

    source: ClassVar[str] = "Liu & Nocedal 1989, algorithm 2.1"
    full_batch: ClassVar[bool] = True
    calls_objective: ClassVar[bool] = True

    kind: Literal["lbfgs"] = "lbfgs"
    lr: LearningRate = Field(
        1.0, description="length of the first step that a line search tries, or auto"
    )
    max_iter: Count = Field(20, description="iterations in one step")
    max_eval: Count | None = Field(
        None, description="evaluations of the loss in one step; null for max_iter * 5 / 4"
    )
    tolerance_grad: NonNegativeFloat = Field(
        1e-7, description="a step ends where no gradient's magnitude is above this"
    )
    tolerance_change: NonNegativeFloat = Field(
        1e-9, description="a step ends where parameters and loss change by less than this"
    )
    history_size: Count = Field(
        10, description="past iterations kept, each the size of two copies of the parameters"
    )
    line_search_fn: Literal["strong_wolfe"] | None = Field(
        "strong_wolfe", description="how far to go in the direction found; null for lr as it is"
    )
    weight_decay: NonNegativeFloat = Field(0.0, description="none: use regularization.l2 instead")

    @model_validator(mode="after")
    def _no_decay(self) -> Self:
        if self.weight_decay:
            message = f"lbfgs has no weight decay, and it is {self.weight_decay:g}"
            same = f"set regularization.l2 to {self.weight_decay / 2:g}, whose gradient is the same"
            raise conflict("optimizer.weight_decay", message, same)
        return self

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer, over one group. Raises `UserError` if the groups' rates differ."""
        rates = sorted({group["lr"] for group in groups})
        if len(rates) > 1:
            found = f"lbfgs has one learning rate, not {', '.join(f'{rate:g}' for rate in rates)}"
            raise UserError(f"optimizer.kind: {found}: leave the parameters' lr_scale at 1")
        assert not any(group["weight_decay"] for group in groups), "refused with the spec"
        parameters = [parameter for group in groups for parameter in group["params"]]
        return torch.optim.LBFGS(
            [{"params": parameters, "lr": rates[0]}],
            lr=lr,
            max_iter=self.max_iter,
            max_eval=self.max_eval,
            tolerance_grad=self.tolerance_grad,
            tolerance_change=self.tolerance_change,
            history_size=self.history_size,
            line_search_fn=self.line_search_fn,
        )
