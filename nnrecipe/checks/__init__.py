"""Checks: each turns evidence into findings with a cause code."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data import DataCheck
from nnrecipe.checks.loss import LossCheck
from nnrecipe.checks.model import ModelCheck
from nnrecipe.checks.optimizer import OptimizerCheck
from nnrecipe.core.spec import ByKind

SanityCheck = Annotated[ModelCheck | LossCheck | OptimizerCheck, ByKind()]
"""What the sanity stage can check, before any training."""

__all__ = ["Bench", "DataCheck", "SanityCheck"]
