"""The whole recipe, as a config file declares it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from nnrecipe.architectures import Architecture
from nnrecipe.core.device import DeviceName, Precision
from nnrecipe.core.logbook import TensorBoardTracking, Tracking
from nnrecipe.core.spec import NonNegativeInt, Spec, kind_of, members
from nnrecipe.data import Data
from nnrecipe.init import Init
from nnrecipe.init.scaled import KaimingNormal
from nnrecipe.layers import Norm
from nnrecipe.layers.norms import NoNorm
from nnrecipe.losses import CrossEntropy, Loss
from nnrecipe.optimizers import OptimizerSpec, Sgd
from nnrecipe.recipe.rules import conflicts
from nnrecipe.regularization import Regularization
from nnrecipe.schedulers import Constant, Scheduler
from nnrecipe.stages import Ensemble, Search, Stage, TransferSpec
from nnrecipe.stages.ensemble import NoEnsemble
from nnrecipe.stages.search import NoSearch
from nnrecipe.training import TrainingSpec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


def every_stage() -> tuple[Any, ...]:
    """All stages as they are by default, in the recipe's order."""
    return tuple(stage() for stage in members(Stage))


class Recipe(Spec):
    """What to train, how, and which stages to walk.

    Where `init` and `norm`, or their kinds, are not given they are the architecture's own, spelled
    out, so that a resolved recipe says everything.
    """

    name: Name = Field("recipe", description="letters, digits, '.', '_', '-'; the runs' folder")
    seed: NonNegativeInt = Field(0, description="the number that all random draws follow from")
    device: DeviceName = Field("auto", description="where to compute; auto takes CUDA if present")
    precision: Precision = Field("fp32", description="number format of the forward pass")
    data: Data = Field(description="the examples, how they are split and prepared")
    architecture: Architecture = Field(description="the network")
    init: Init | None = Field(None, description="initial weights; null: a custom network's own")
    norm: Norm = Field(NoNorm(), description="normalization of the hidden layers")
    regularization: Regularization = Field(Regularization(), description="against overfitting")
    loss: Loss = Field(CrossEntropy(), description="what training makes small")
    optimizer: OptimizerSpec = Field(Sgd(), description="how a gradient becomes a step")
    scheduler: Scheduler = Field(Constant(), description="the learning rate over time")
    training: TrainingSpec = Field(TrainingSpec(), description="how long, in what portions")
    stages: tuple[Stage, ...] = Field(
        default_factory=every_stage, min_length=1, description="what to walk through, in order"
    )
    search: Search = Field(NoSearch(), description="the search over hyper-parameters")
    ensemble: Ensemble = Field(NoEnsemble(), description="several models as one")
    transfer: TransferSpec = Field(TransferSpec(), description="what earlier training gives")
    tracking: Tracking = Field(TensorBoardTracking(), description="where curves are drawn")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Spell out what the architecture decides."""
        architecture = _chosen(given.get("architecture")) if isinstance(given, dict) else None
        if architecture is None:
            return given
        own = {"norm": architecture.default_norm}
        if architecture is not _ARCHITECTURES["custom"]:
            own["init"] = kind_of(KaimingNormal)
        return given | {key: _of_kind(kind, given.get(key)) for key, kind in own.items()}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        found = [InitErrorDetails(type=rule, input=None) for rule in conflicts(self)]
        if found:
            raise ValidationError.from_exception_data("Recipe", found)
        return self


_ARCHITECTURES: dict[str, Any] = {kind_of(member): member for member in members(Architecture)}


def _of_kind(default: str, section: Any) -> Any:
    """The section with its kind; without settings, `none` is no kind to give it."""
    if section is None:
        return {"kind": default}
    if isinstance(section, dict) and "kind" not in section and default != "none":
        return {"kind": default, **section}
    return section


def _chosen(architecture: Any) -> Any:
    """The class of an architecture given as a kind, a mapping or a spec; None if there is none."""
    if isinstance(architecture, Spec):
        return type(architecture)
    kind = architecture.get("kind") if isinstance(architecture, dict) else architecture
    return _ARCHITECTURES.get(kind) if isinstance(kind, str) else None
