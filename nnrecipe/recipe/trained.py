"""A network that a run has trained, put together again without its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.parameter import is_lazy

from nnrecipe.architectures.custom import CustomArchitecture
from nnrecipe.core.device import Precision
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Head, InputShape, OutputSpec, Task
from nnrecipe.data import Preprocessing
from nnrecipe.data.custom import Custom
from nnrecipe.data.outputs import side_by_side, together
from nnrecipe.recipe.bench import materialize, memory_format
from nnrecipe.recipe.loading import search_beside_given
from nnrecipe.recipe.model import Recipe
from nnrecipe.recipe.network import blaming_network
from nnrecipe.report.store import CONFIG_FILE
from nnrecipe.stages.ensemble import ENSEMBLE_FILE
from nnrecipe.stages.kept import BEST_FILE, LAST_FILE
from nnrecipe.training.checkpoint import load_checkpoint
from nnrecipe.training.ensembles import Ensemble
from nnrecipe.training.predictor import Predictor

Which = Literal["best", "last", "ensemble"]
FILES: Mapping[Which, str] = {"best": BEST_FILE, "last": LAST_FILE, "ensemble": ENSEMBLE_FILE}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """A trained network in eval mode, and what using it takes.

    `network` maps preprocessed examples `[N, *input_shape]` to outputs `[N, len(names)]`; `names`
    are those of classes, labels or values, `heads` the tasks where these are several. `float_range`
    is that of `DataBundle`. `figures` are the validation's after `epoch`, both of the checkpoint at
    `path`; an ensemble has neither.
    """

    network: nn.Module
    preprocessing: Preprocessing
    recipe: Recipe
    task: Task
    heads: tuple[Head, ...]
    names: tuple[str, ...]
    input_shape: InputShape
    float_range: tuple[float, float] | None
    path: Path
    epoch: int | None
    figures: Mapping[str, float]

    def predictor(self, precision: Precision) -> Predictor:
        """From raw examples to probabilities or values."""
        return Predictor(
            self.network,
            self.preprocessing,
            task=self.task,
            heads=self.heads,
            precision=precision,
        ).eval()


def load_trained(
    folder: Path, which: Which | None, *, device: torch.device, say: Callable[[str], None]
) -> Trained:
    """The network of a run's checkpoint; without `which` its ensemble if there is one, or the best.

    `say` is told the file, and the code of the user's that is imported for it. Raises `UserError`
    if there is no such checkpoint, or it can't be used.
    """
    path = _find(folder, which)
    saved = _read(path)
    recipe, epoch = _recipe(saved["recipe"], path), saved.get("epoch")
    say(f"model  {path}" + ("" if epoch is None else f", epoch {epoch}"))
    if isinstance(recipe.architecture, CustomArchitecture):
        say(f"code   {recipe.architecture.target}")
        if (folder / CONFIG_FILE).is_file():
            search_beside_given(folder / CONFIG_FILE)
    task: Task = saved.get("task", recipe.data.task)  # older files leave it to the recipe
    names, shape = tuple(saved["classes"]), tuple(saved["input_shape"])
    heads = _heads(saved)
    outputs = together(heads) if heads else OutputSpec(len(names), task=task)
    network = _filled(_network(recipe, shape, outputs), saved, path)
    network.eval().to(device=device, memory_format=memory_format(recipe))  # type: ignore[call-overload]
    preprocessing = Preprocessing.from_state(saved["preprocessing"]).to(device)
    _try_once(network, preprocessing, recipe, shape=shape, outputs=len(names))
    return Trained(
        network=network,
        preprocessing=preprocessing,
        recipe=recipe,
        task=task,
        heads=heads,
        names=names,
        input_shape=shape,
        float_range=_float_range(saved, recipe, path),
        path=path,
        epoch=epoch,
        figures=saved.get("figures", {}),
    )


def _find(folder: Path, which: Which | None) -> Path:
    """The checkpoint's file."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: name the folder of a run")
    home = folder / "checkpoints"
    wanted: list[Which] = ["ensemble", "best"] if which is None else [which]
    for name in wanted:
        if (home / FILES[name]).is_file():
            return home / FILES[name]
    missing = home / FILES[wanted[-1]]
    if which == "ensemble":
        raise UserError(f"--checkpoint ensemble: no {missing}: the run has made no ensemble")
    raise UserError(f"{folder}: no {missing}: name the folder of one run that has trained")


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint that holds what it takes to use it."""
    part = "members" if path.name == ENSEMBLE_FILE else "model"
    saved = load_checkpoint(path, device=CPU, part=part)
    for key in ("preprocessing", "classes", "input_shape", "recipe"):
        if key not in saved:
            raise UserError(f"{path}: it has no {key!r}: train again with this nnrecipe")
    return saved


def _heads(saved: Mapping[str, Any]) -> tuple[Head, ...]:
    """The tasks of a checkpoint of several; of one there are none."""
    return side_by_side(
        Head(head["name"], OutputSpec(len(head["names"]), task=head["task"]), tuple(head["names"]))
        for head in saved.get("heads", [])
    )


def _recipe(given: Any, path: Path) -> Recipe:
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{path}: recipe.{where}: {first['msg']}"
        raise UserError(f"{message}: use the nnrecipe that trained it") from error


def _network(recipe: Recipe, inputs: InputShape, outputs: OutputSpec) -> nn.Module:
    """The network as it was trained, with weights that are to be replaced."""
    model = recipe.architecture.build(inputs, outputs, hidden=recipe.hidden)
    example = torch.zeros(2, *inputs)
    if any(is_lazy(parameter) for parameter in model.parameters()):
        materialize(model, example)
    return recipe.transfer.arrange(model, example, outputs=outputs.size)


def _filled(network: nn.Module, saved: Mapping[str, Any], path: Path) -> nn.Module:
    """The network with the saved weights, or as many of it as were saved, as one."""
    try:
        if "members" not in saved:
            network.load_state_dict(saved["model"])
            return network
        states, average = saved["members"], saved["average"]
        return Ensemble.of_states(network, states, task=saved["task"], average=average)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise UserError(f"{path}: the weights don't fit the network: {found}") from error


@torch.no_grad()
def _try_once(
    network: nn.Module,
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    shape: InputShape,
    outputs: int,
) -> None:
    """Raise `UserError` unless the network gives as many outputs as there are names."""
    example = torch.zeros(2, *shape, device=preprocessing.mean.device)
    with blaming_network(recipe.architecture):
        made = network(preprocessing(example))
    if made.shape != (2, outputs):
        given = f"outputs {list(made.shape)} for 2 examples and {outputs} names of outputs"
        raise UserError(
            f"architecture: the network gives {given}: mend its last layer and train it"
        )


def _float_range(
    saved: Mapping[str, Any], recipe: Recipe, path: Path
) -> tuple[float, float] | None:
    if "float_range" not in saved and isinstance(recipe.data, Custom):
        problem = f"{path}: an older nnrecipe wrote it, and didn't note what your Dataset gives"
        raise UserError(f"{problem}: train again with this one")
    found = saved.get("float_range")
    return None if found is None else (float(found[0]), float(found[1]))
