"""Checks of the model, before any training."""

from __future__ import annotations

from nnrecipe.checks.model.gradients import GradientCheck
from nnrecipe.checks.model.outputs import OutputsCheck
from nnrecipe.checks.model.reach import ReachCheck

ModelCheck = OutputsCheck | ReachCheck | GradientCheck
"""What the sanity stage can check of the model, in its order."""

__all__ = ["ModelCheck"]
