"""The whole recipe, as a config file declares it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from nnrecipe.architectures import Architecture
from nnrecipe.core.device import DeviceName, PrecisionName
from nnrecipe.core.logbook import TensorBoardTracking, Tracking
from nnrecipe.core.shapes import Task
from nnrecipe.core.spec import NonNegativeInt, Spec, kind_of, members
from nnrecipe.data import Data
from nnrecipe.data.custom import Custom
from nnrecipe.init import Init
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import NoNorm
from nnrecipe.losses import USUAL_LOSSES, CrossEntropy, Loss
from nnrecipe.optimizers import OptimizerSpec, Sgd
from nnrecipe.recipe.rules import conflicts
from nnrecipe.regularization import Regularization
from nnrecipe.schedulers import Constant, Scheduler
from nnrecipe.stages import Stage
from nnrecipe.training import TrainingSpec
from nnrecipe.training.ensembles import EnsembleSpec, NoEnsemble
from nnrecipe.training.search import NoSearch, Search
from nnrecipe.training.transfer import TransferSpec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


def every_stage() -> tuple[Any, ...]:
    """All stages as they are by default, in the recipe's order."""
    return tuple(stage() for stage in members(Stage))


class Recipe(Spec):
    """What to train, how, and which stages to walk.

    What is not given and follows from other parts is spelled out, so that a resolved recipe says
    everything: `init` and `norm` are the architecture's own, `loss` is the usual one for the data's
    task, and so is `training.select_by`; `training.accumulate` is the optimizer's.
    """

    name: Name = Field("recipe", description="letters, digits, '.', '_', '-'; the runs' folder")
    seed: NonNegativeInt = Field(0, description="the number that all random draws follow from")
    device: DeviceName = Field("auto", description="where to compute; auto takes CUDA if present")
    precision: PrecisionName = Field(
        "fp32",
        description="number format of the forward pass; auto takes bf16 where it is fast",
    )
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
    ensemble: EnsembleSpec = Field(NoEnsemble(), description="several models as one")
    transfer: TransferSpec = Field(TransferSpec(), description="what earlier training gives")
    tracking: Tracking = Field(TensorBoardTracking(), description="where curves are drawn")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Spell out what other parts decide."""
        if not isinstance(given, dict):
            return given
        kinds, training = dict[str, str](), dict[str, Any]()
        architecture = _chosen(given.get("architecture"), Architecture)
        if architecture is not None:
            kinds["norm"] = architecture.default_norm
            if architecture.default_init is not None:
                kinds["init"] = architecture.default_init
        task = _task_of(given.get("data"))
        if task is not None:
            kinds["loss"] = USUAL_LOSSES[task]
            training["select_by"] = USUAL_FIGURE[task]
        optimizer = _chosen(given.get("optimizer"), OptimizerSpec)
        if optimizer is not None and optimizer.full_batch:
            training["accumulate"] = "epoch"
        if "data" in given and "architecture" in given:
            given = given | {"data": _as_pretrained(given["data"], given["architecture"])}
        filled = given | {key: _of_kind(kind, given.get(key)) for key, kind in kinds.items()}
        written = given.get("training", {})
        return filled | ({"training": training | written} if isinstance(written, dict) else {})

    @property
    def hidden(self) -> Hidden:
        """What goes into the hidden layers."""
        regularization = self.regularization
        return Hidden(
            norm=self.norm,
            dropout=regularization.dropout,
            dropblock=regularization.dropblock,
            stochastic_depth=regularization.stochastic_depth,
        )

    def started(self, *, init: Init | None, activation: Activation | None) -> Recipe:
        """The same recipe with other initial weights and another nonlinearity; None: its own.

        Other initial weights take the place of pretrained ones.
        """
        changes: dict[str, Any] = {} if init is None else {"init": init}
        network: dict[str, Any] = {} if activation is None else {"activation": activation}
        if init is not None:
            network["weights"] = None
        changes["architecture"] = self.architecture.model_copy(update=network)
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        found = [InitErrorDetails(type=rule, input=None) for rule in conflicts(self)]
        if found:
            raise ValidationError.from_exception_data("Recipe", found)
        return self


USUAL_FIGURE: dict[Task, str] = {
    "single_label": "val_accuracy",
    "multi_label": "val_accuracy",
    "regression": "val_r2",
    "several": "val_score",
}


def _of_kind(default: str, section: Any) -> Any:
    """The section with its kind; without settings, `none` is no kind to give it."""
    if section is None:
        return {"kind": default}
    if isinstance(section, dict) and "kind" not in section and default != "none":
        return {"kind": default, **section}
    return section


def _as_pretrained(data: Any, architecture: Any) -> Any:
    """The data's section with the preprocessing that torchvision's weights are used to.

    What the section says itself stays as it is.
    """
    try:
        found = _ARCHITECTURE.validate_python(architecture)
    except ValidationError:
        return data  # told later
    chosen = _chosen(data, Data)
    if found.weights is None or chosen is None or chosen is Custom or isinstance(data, Spec):
        return data
    size, normalize = found.weights.preprocessing(found.weights_of)
    filled: dict[str, Any] = {} if normalize is None else {"normalize": normalize}
    if size is not None and "image_size" in chosen.model_fields:
        filled["image_size"] = size
    return filled | (data if isinstance(data, dict) else {"kind": data})


def _chosen(section: Any, family: Any) -> Any:
    """The member of a family that a section (a kind, a mapping or a spec) means; None for none."""
    if isinstance(section, Spec):
        return type(section)
    kind = section.get("kind") if isinstance(section, dict) else section
    word = kind.split(":")[0] if isinstance(kind, str) else None
    return next((member for member in members(family) if kind_of(member) == word), None)


def _task_of(data: Any) -> Task | None:
    """What the data's targets are; None if the section is missing or wrong, which is told later."""
    try:
        return _DATA.validate_python(data).predicts
    except ValidationError:
        return None


_DATA: TypeAdapter[Data] = TypeAdapter(Data)
_ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
