"""Checks of the data, before any model is looked at."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.checks.data.classes import ClassesCheck
from nnrecipe.checks.data.splits import ShiftCheck, StableCheck
from nnrecipe.checks.data.values import ConstantCheck, FiniteCheck, ScaleCheck
from nnrecipe.core.spec import ByKind

DataCheck = Annotated[
    FiniteCheck | ScaleCheck | ConstantCheck | ClassesCheck | ShiftCheck | StableCheck, ByKind()
]
"""What the data stage can check, in its order."""

__all__ = ["DataCheck"]
