"""Checks: each turns evidence into findings with a cause code."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.checks.bench import Bench, without_dropout
from nnrecipe.checks.data import (
    ClassesCheck,
    ConstantCheck,
    FiniteCheck,
    ScaleCheck,
    ShiftCheck,
    StableCheck,
)
from nnrecipe.checks.gradients import GradientCheck
from nnrecipe.checks.loss import LossAtChanceCheck, LossFormCheck
from nnrecipe.checks.outputs import OutputsCheck
from nnrecipe.checks.reach import ReachCheck
from nnrecipe.checks.regularization import RegularizationCheck
from nnrecipe.core.spec import ByKind

DataCheck = Annotated[
    FiniteCheck | ScaleCheck | ConstantCheck | ClassesCheck | ShiftCheck | StableCheck, ByKind()
]
"""What the data stage can check."""

SanityCheck = Annotated[
    OutputsCheck
    | LossFormCheck
    | LossAtChanceCheck
    | RegularizationCheck
    | ReachCheck
    | GradientCheck,
    ByKind(),
]
"""What the sanity stage can check, before any training."""

__all__ = ["Bench", "DataCheck", "SanityCheck", "without_dropout"]
