"""An optimizer from the user's own code."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import NonNegativeFloat
from nnrecipe.core.targets import Target, accepted, blaming, import_target
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.learning_rate import LearningRate


class CustomOptimizer(Descent):
    """A user's optimizer: `target(groups, lr=lr, **args)`, with `lr` where it takes one.

    The groups are torch's: dicts with `params`, and their own `lr` and `weight_decay`.
    """

    source: ClassVar[str] = "your own code"

    kind: Literal["custom"] = "custom"
    target: Target = Field(description="package.module:callable that returns the optimizer")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of target")
    lr: LearningRate = Field(1e-3, description="learning rate, or auto for the probe's suggestion")
    weight_decay: NonNegativeFloat = Field(0.0, description="weight decay of the weights' groups")

    @model_validator(mode="after")
    def _groups_carry_these(self) -> Self:
        for name in ("lr", "weight_decay"):
            if name in self.args:
                message = f"{name} would be overruled by the parameter groups' own"
                raise conflict(f"optimizer.args.{name}", message, f"write it as optimizer.{name}")
        return self

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The user's optimizer. Raises `UserError` if the target returns something else."""
        function = import_target("optimizer.target", self.target)
        with blaming("optimizer.target", self.target):
            optimizer = function(groups, **accepted(function, lr=lr), **self.args)
        if not isinstance(optimizer, torch.optim.Optimizer):
            found = f"{self.target} returned {type(optimizer).__name__}"
            raise UserError(f"optimizer.target: {found}: return a torch.optim.Optimizer")
        if self.weight_decay and "weight_decay" not in optimizer.defaults:
            found = f"{self.target} knows no weight decay, and it is {self.weight_decay:g}"
            raise UserError(f"optimizer.weight_decay: {found}: use regularization.l2 instead")
        return optimizer
