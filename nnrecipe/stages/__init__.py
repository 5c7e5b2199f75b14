"""The stages of the recipe, in the order in which it walks them."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.stages.data import DataStage
from nnrecipe.stages.diagnosis import DiagnosisStage
from nnrecipe.stages.ensemble import EnsembleStage
from nnrecipe.stages.evaluate import EvaluateStage
from nnrecipe.stages.init import InitStage
from nnrecipe.stages.lr_probe import LrProbeStage
from nnrecipe.stages.overfit import OverfitStage
from nnrecipe.stages.run import Run
from nnrecipe.stages.sanity import SanityStage
from nnrecipe.stages.search import SearchStage
from nnrecipe.stages.train import TrainStage
from nnrecipe.stages.transfer import TransferStage

Stage = Annotated[
    DataStage
    | TransferStage
    | SanityStage
    | InitStage
    | OverfitStage
    | LrProbeStage
    | SearchStage
    | TrainStage
    | EnsembleStage
    | EvaluateStage
    | DiagnosisStage,
    ByKind(),
]
"""What a recipe walks through. The union's order is the recipe's."""

__all__ = ["Run", "Stage"]
