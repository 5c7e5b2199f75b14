"""Checks of the loss and of the penalty, before any training."""

from __future__ import annotations

from nnrecipe.checks.loss.chance import LossAtChanceCheck
from nnrecipe.checks.loss.class_weights import ClassWeightsCheck
from nnrecipe.checks.loss.form import LossFormCheck
from nnrecipe.checks.loss.regularization import RegularizationCheck

LossCheck = LossFormCheck | ClassWeightsCheck | LossAtChanceCheck | RegularizationCheck
"""What the sanity stage can check of the loss, in its order."""

__all__ = ["LossCheck"]
