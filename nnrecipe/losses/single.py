"""The losses of one task."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.losses.bce_with_logits import BceWithLogits
from nnrecipe.losses.cross_entropy import CrossEntropy
from nnrecipe.losses.custom import CustomLoss
from nnrecipe.losses.focal import Focal
from nnrecipe.losses.multi_margin import MultiMargin
from nnrecipe.losses.nll import Nll
from nnrecipe.losses.regression import L1, Huber, Mse, SmoothL1

OneTask = (
    CrossEntropy
    | Nll
    | MultiMargin
    | Focal
    | BceWithLogits
    | Mse
    | L1
    | SmoothL1
    | Huber
    | CustomLoss
)
"""Of one task, or of one of several."""

SingleLoss = Annotated[OneTask, ByKind()]
