"""Checks of the model, before any training."""

from __future__ import annotations

from nnrecipe.checks.model.batch_norm import NormBatchSizeCheck, StatisticsCheck
from nnrecipe.checks.model.bottleneck import BottleneckCheck
from nnrecipe.checks.model.dropout import DropoutCheck
from nnrecipe.checks.model.eval_mode import EvalModeCheck
from nnrecipe.checks.model.finite_gradient import FiniteGradientCheck
from nnrecipe.checks.model.form import OutputFormCheck
from nnrecipe.checks.model.gradients import GradientCheck
from nnrecipe.checks.model.isolation import IsolationCheck
from nnrecipe.checks.model.nonlinearity import NonlinearityCheck
from nnrecipe.checks.model.outputs import OutputsCheck
from nnrecipe.checks.model.reach import ReachCheck
from nnrecipe.checks.model.sensitivity import InputSensitivityCheck
from nnrecipe.checks.model.symmetry import SymmetryCheck

ModelCheck = (
    OutputsCheck
    | OutputFormCheck
    | ReachCheck
    | GradientCheck
    | FiniteGradientCheck
    | InputSensitivityCheck
    | SymmetryCheck
    | NonlinearityCheck
    | BottleneckCheck
    | IsolationCheck
    | EvalModeCheck
    | DropoutCheck
    | NormBatchSizeCheck
    | StatisticsCheck
)
"""What the sanity stage can check of the model, in its order."""

__all__ = ["ModelCheck"]
