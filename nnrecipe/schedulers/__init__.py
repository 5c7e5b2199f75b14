"""Schedulers: how the learning rate changes over training, as a pure function of the step."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.schedulers.decay import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    Polynomial,
    Step,
)
from nnrecipe.schedulers.one_cycle import OneCycle
from nnrecipe.schedulers.schedule import Multiplier

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "MultiStep",
    "Multiplier",
    "OneCycle",
    "Polynomial",
    "Scheduler",
    "Step",
]

Scheduler = Annotated[
    Constant | Step | MultiStep | Exponential | Linear | Polynomial | Cosine | OneCycle,
    ByKind(default="constant"),
]
