"""Losses: what training makes small, given a model's outputs [N, size] and the targets."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.losses.base import USUAL_LOSSES
from nnrecipe.losses.bce_with_logits import BceWithLogits
from nnrecipe.losses.cross_entropy import CrossEntropy
from nnrecipe.losses.custom import CustomLoss
from nnrecipe.losses.focal import Focal
from nnrecipe.losses.function import LossCallable, mass, module_of
from nnrecipe.losses.multi_margin import MultiMargin
from nnrecipe.losses.nll import Nll
from nnrecipe.losses.regression import L1, Huber, Mse, SmoothL1
from nnrecipe.losses.single import OneTask
from nnrecipe.losses.tasks import TaskLosses, TasksLoss
from nnrecipe.losses.weighting import TaskWeights

__all__ = [
    "L1",
    "USUAL_LOSSES",
    "BceWithLogits",
    "CrossEntropy",
    "CustomLoss",
    "Focal",
    "Huber",
    "Loss",
    "LossCallable",
    "Mse",
    "MultiMargin",
    "Nll",
    "SmoothL1",
    "TaskLosses",
    "TaskWeights",
    "TasksLoss",
    "mass",
    "module_of",
]

Loss = Annotated[OneTask | TasksLoss, ByKind(default="cross_entropy", infers=True)]
