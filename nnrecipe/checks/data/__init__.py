"""Checks of the data, before any model is looked at."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.checks.data.amount import AmountCheck
from nnrecipe.checks.data.classes import ClassesCheck
from nnrecipe.checks.data.duplicates import DuplicatesCheck
from nnrecipe.checks.data.labels import LabelsCheck
from nnrecipe.checks.data.order import OrderCheck
from nnrecipe.checks.data.overlap import OverlapCheck
from nnrecipe.checks.data.shift import ShiftCheck
from nnrecipe.checks.data.stable import StableCheck
from nnrecipe.checks.data.strength import AugmentationCheck
from nnrecipe.checks.data.structure import StructureCheck
from nnrecipe.checks.data.values import ConstantCheck, FiniteCheck, ScaleCheck
from nnrecipe.core.spec import ByKind

DataCheck = Annotated[
    FiniteCheck
    | ScaleCheck
    | ConstantCheck
    | ClassesCheck
    | AmountCheck
    | OrderCheck
    | StableCheck
    | ShiftCheck
    | DuplicatesCheck
    | StructureCheck
    | LabelsCheck
    | OverlapCheck
    | AugmentationCheck,
    ByKind(),
]
"""What the data stage can check, in its order."""

OF_TARGETS = (
    ClassesCheck,
    AmountCheck,
    OrderCheck,
    ShiftCheck,
    DuplicatesCheck,
    StructureCheck,
    LabelsCheck,
    OverlapCheck,
    AugmentationCheck,
)
"""Those that also look at what is to be predicted."""

__all__ = ["OF_TARGETS", "DataCheck"]
