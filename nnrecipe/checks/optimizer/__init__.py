"""Checks of the optimizer, by single steps before any training."""

from __future__ import annotations

from nnrecipe.checks.optimizer.decay import WeightDecayCheck
from nnrecipe.checks.optimizer.direction import OptimizerStepCheck
from nnrecipe.checks.optimizer.step_size import StepSizeCheck

OptimizerCheck = OptimizerStepCheck | WeightDecayCheck | StepSizeCheck
"""What the sanity stage can check of the optimizer, in its order."""

__all__ = ["OptimizerCheck"]
