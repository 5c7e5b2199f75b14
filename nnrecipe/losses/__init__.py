"""Losses: what training makes small, given logits [N, C] and targets [N]."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.losses.cross_entropy import CrossEntropy
from nnrecipe.losses.custom import CustomLoss
from nnrecipe.losses.function import LossCallable
from nnrecipe.losses.multi_margin import MultiMargin

__all__ = ["CrossEntropy", "CustomLoss", "Loss", "LossCallable", "MultiMargin"]

Loss = Annotated[CrossEntropy | MultiMargin | CustomLoss, ByKind(default="cross_entropy")]
