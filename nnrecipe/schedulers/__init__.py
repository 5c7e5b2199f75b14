"""Schedulers: how the learning rate changes over training.

All are functions of the step alone but for `plateau`, which watches the epochs' figures.
"""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.schedulers.cycles import CosineRestarts, Cyclic
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
from nnrecipe.schedulers.plateau import Plateau
from nnrecipe.schedulers.schedule import Multiplier

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "Linear",
    "MultiStep",
    "Multiplier",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Scheduler",
    "Step",
]

Scheduler = Annotated[
    Constant
    | Step
    | MultiStep
    | Exponential
    | Linear
    | Polynomial
    | Cosine
    | CosineRestarts
    | OneCycle
    | Cyclic
    | Plateau,
    ByKind(default="constant"),
]
