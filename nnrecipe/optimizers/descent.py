"""What every optimizer says of itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch

from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Spec


class Descent(Spec):
    """An optimizer. Its `lr` and `weight_decay` reach it through the parameter groups.

    `full_batch`: each step takes the gradient over all training examples, so an epoch is one step.
    `calls_objective`: a step evaluates the loss several times, so `step` needs the closure.
    """

    full_batch: ClassVar[bool] = False
    calls_objective: ClassVar[bool] = False

    @abstractmethod
    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win."""
