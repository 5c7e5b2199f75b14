"""What has to hold between the parts of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError
from torch import nn

from nnrecipe.architectures.refusals import obstacles
from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import InputShape, Task
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.image_folder import ImageFolder
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.losses import Loss, TasksLoss
from nnrecipe.losses.weighting import GradNorm
from nnrecipe.recipe.network import outline
from nnrecipe.schedulers import CosineRestarts, Cyclic, Plateau
from nnrecipe.schedulers.warmup import Warmup
from nnrecipe.stages import Stage
from nnrecipe.stages.init import InitStage
from nnrecipe.stages.overfit import OverfitStage
from nnrecipe.training.averaging import Swa
from nnrecipe.training.ensembles import NoEnsemble, Snapshots, TopTrials
from nnrecipe.training.search import NoSearch

if TYPE_CHECKING:
    from nnrecipe.recipe.model import Recipe

ORDER = tuple(kind_of(stage) for stage in members(Stage))
"""The kinds of stages, in the order in which a recipe walks them."""

FIGURES: dict[Task, tuple[str, ...]] = {
    "single_label": ("accuracy", "loss"),
    "multi_label": ("accuracy", "f1", "loss"),
    "regression": ("r2", "loss"),
    "several": ("score", "loss"),
}
"""What can be watched on the validation split, by task."""

EPOCH = 2520
"""Batches of an epoch while the data are unknown: its usual parts are whole numbers of them."""
MOST_COUNTED = 10**5
"""Epochs up to which cycles are counted while a config is read."""


def conflicts(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Everything in which the parts don't fit each other."""
    yield from _network(recipe)
    yield from _batches(recipe)
    yield from _loss(recipe)
    yield from _figures(recipe)
    yield from _full_batch(recipe)
    yield from _mixing(recipe)
    yield from _averaging(recipe)
    yield from _stages(recipe)
    yield from _comparisons(recipe)
    yield from _schedule(recipe)
    yield from _search(recipe)
    yield from _ensemble(recipe)
    yield from _precision(recipe)
    yield from _transfer(recipe)
    yield from _tasks(recipe)


def _network(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether the architecture can be built as it is asked for."""
    architecture = recipe.architecture
    refused = obstacles(architecture, recipe.hidden)
    yield from (conflict(path, reason) for path, reason in refused)
    if refused or architecture.kind == "custom":
        return
    try:
        _try_to_build(recipe)
    except UserError as error:
        yield _as_conflict(error, "architecture")


def _try_to_build(recipe: Recipe) -> None:
    """Build the network without memory for its weights, as far as the data's shape is known."""
    inputs, outputs = recipe.data.input_shape(), recipe.data.outputs()
    shape = inputs or _size_alone(recipe)
    if shape is not None:
        recipe.architecture.check_inputs(shape)
    if inputs is None or outputs is None:
        return
    model = outline(recipe, inputs, outputs)
    if recipe.init is not None:
        recipe.init.check(model, outputs)
    if recipe.optimizer.calls_objective and any(map(_is_random, model.modules())):
        found = "compares losses within a step, and the architecture's own dropout changes them"
        raise UserError(f"optimizer.kind: {recipe.optimizer.kind} {found}: use another optimizer")


def _is_random(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def _size_alone(recipe: Recipe) -> InputShape | None:
    """The images' shape where their size is given, though not yet whether they are gray."""
    size = recipe.data.image_size if isinstance(recipe.data, ImageFolder) else None
    return None if size is None else (3, size, size)


def _batches(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether batch norm gets more than one example to take statistics of."""
    if not isinstance(recipe.norm, BatchNorm) or recipe.norm.frozen:
        return
    sizes = {"training.batch_size": recipe.training.batch_size, "data.limit": recipe.data.limit}
    for stage in recipe.stages:
        if isinstance(stage, OverfitStage):
            sizes[f"stages.{stage.kind}.examples"] = stage.examples
    for path, size in sizes.items():
        if size == 1:
            message = "1 example is too few for norm: batch, which takes statistics of a batch"
            yield conflict(path, message, "raise it, or use another norm: layer or group")


def _loss(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether the loss is one for the data's targets and for what the network puts out."""
    loss, task, outputs = recipe.loss, recipe.data.predicts, recipe.data.outputs()
    if task not in loss.tasks:
        message = f"{loss.kind} is for {' and '.join(sorted(loss.tasks))}, and the data are {task}"
        fitting = [kind_of(member) for member in members(Loss) if task in member.tasks]
        yield conflict("loss.kind", message, f"use {_either(fitting)}")
        return
    if loss.expects_log_probabilities and recipe.architecture.kind != "custom":
        message = (
            f"{loss.kind} takes log-probabilities, and {recipe.architecture.kind} gives logits"
        )
        yield conflict("loss.kind", message, "use cross_entropy, which does both")
    if outputs is None:
        return
    try:
        loss.check_outputs(outputs)
    except UserError as error:
        yield _as_conflict(error, "loss")


def _figures(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether what is watched is measured: each task has its own figures."""
    watched: dict[str, str] = {"training.select_by": recipe.training.select_by}
    if recipe.regularization.early_stopping is not None:
        watched["regularization.early_stopping.monitor"] = (
            recipe.regularization.early_stopping.monitor
        )
    if isinstance(recipe.scheduler, Plateau):
        watched["scheduler.monitor"] = recipe.scheduler.monitor
    known = FIGURES[recipe.data.predicts]
    for path, figure in watched.items():
        if figure.removeprefix("val_").removeprefix("train_") not in known:
            message = f"there is no {figure} where the data are {recipe.data.predicts}"
            yield conflict(path, message, f"use {_either([f'val_{name}' for name in known])}")


def _either(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _full_batch(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether an optimizer that wants the gradient of all examples gets it, and gets it exactly."""
    optimizer = recipe.optimizer
    if optimizer.full_batch and recipe.training.accumulate != "epoch":
        message = f"{optimizer.kind} descends by the gradient over all examples"
        yield conflict("training.accumulate", message, "leave it out, or use another optimizer")
    if not optimizer.calls_objective:
        return
    for reason, paths in _unsteady(recipe).items():
        for path in (path for path, active in paths.items() if active):
            message = f"{optimizer.kind} {reason}"
            yield conflict(path, message, "leave it out, or use another optimizer")


def _unsteady(recipe: Recipe) -> dict[str, dict[str, bool]]:
    """What changes the loss or its gradient under an optimizer that takes them for one function's.

    Reason -> path -> whether it is so.
    """
    regularization, training = recipe.regularization, recipe.training
    dropout, dropblock = regularization.dropout, regularization.dropblock
    return {
        "compares losses within a step, and this changes each of them": {
            "regularization.dropout": dropout is not None and dropout.active,
            "regularization.dropblock": dropblock is not None and dropblock.active,
            "regularization.stochastic_depth": regularization.stochastic_depth > 0,
        },
        "compares the gradients of its steps, and this changes the loss from one to the next": {
            "regularization.mixup": regularization.mixup > 0,
            "regularization.cutmix": regularization.cutmix > 0,
            "data.augment": bool(recipe.data.augment),
        },
        "relies on the loss's own gradient between its steps": {
            "training.clip_norm": training.clip_norm is not None,
            "training.clip_value": training.clip_value is not None,
            "regularization.max_norm": regularization.max_norm is not None,
        },
    }


def _mixing(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether there are partners to mix with, and pixels for CutMix to paste."""
    shape = recipe.data.input_shape()
    if recipe.regularization.mixing() and recipe.training.batch_size == 1:
        message = "mixup and cutmix mix the examples of a batch, and 1 has no partner"
        yield conflict("training.batch_size", message, "raise it, or leave out the mixing")
    if recipe.regularization.cutmix and shape is not None and len(shape) != 3:
        message = f"cutmix pastes pixels of images, and the examples are {list(shape)}"
        yield conflict("regularization.cutmix", message, "use regularization.mixup")


def _averaging(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether the mean of epochs is one of several."""
    average, epochs = recipe.training.average, recipe.training.epochs
    if isinstance(average, Swa) and average.first_epoch(epochs) >= epochs:
        message = f"swa would average the last of training.epochs: {epochs} alone"
        yield conflict("training.average", message, "train longer, or lower its start")


def _schedule(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether a warm-up that is given in epochs leaves some of the training."""
    warmup, epochs = recipe.scheduler.warmup, recipe.training.epochs
    if isinstance(warmup, str) and float(warmup.split()[0]) >= epochs:
        message = f"{warmup} leaves nothing of the training, which has training.epochs: {epochs}"
        yield conflict("scheduler.warmup", message, "shorten it, or train longer")


def _search(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether there is a stage that searches, and the space is none that decides on the search."""
    search = recipe.search
    if isinstance(search, NoSearch):
        return
    if "search" not in [stage.kind for stage in recipe.stages]:
        message = f"{search.kind} trials are trained in the search stage"
        yield conflict("search.kind", message, "add search to stages, before train")
    for path in search.space:
        if path.partition(".")[0] in FIXED:
            message = f"{path} is the same for all trials"
            yield conflict("search.space", message, "leave it out; search.seeds sets the seeds")
    if "training.epochs" in search.space:
        message = "training.epochs: a trial has its round's epochs"
        yield conflict("search.space", message, "set them in search.rounds")


FIXED = ("name", "seed", "device", "stages", "search", "ensemble", "tracking")
"""The sections that are the same for all trials."""


def _ensemble(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether there is a stage that makes the ensemble, and a schedule with enough cycles."""
    ensemble, kinds = recipe.ensemble, [stage.kind for stage in recipe.stages]
    if isinstance(ensemble, NoEnsemble):
        return
    if "train" in kinds and "ensemble" not in kinds:
        message = f"{ensemble.kind} are made in the ensemble stage"
        yield conflict("ensemble.kind", message, "add ensemble to stages, after train")
    if isinstance(ensemble, TopTrials):
        yield from _top_trials(recipe)
    if not isinstance(ensemble, Snapshots):
        return
    if recipe.regularization.early_stopping is not None:
        message = "may end the training before the last cycle, which ensemble: snapshots needs"
        yield conflict("regularization.early_stopping", message, "leave it out")
    if list(_schedule(recipe)):
        return  # a warm-up that leaves nothing of the training leaves no cycle either
    try:
        _check_cycles(recipe)
    except UserError as error:
        yield _as_conflict(error, "ensemble")


def _top_trials(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether there is a search, and all its trials are of one network on the same inputs."""
    search = recipe.search
    if isinstance(search, NoSearch):
        message = "the best trials of a search, and there is none"
        yield conflict("ensemble.kind", message, "give it a search.space, or use members")
        return
    for path in search.space:
        if path.partition(".")[0] in ("data", "architecture", "norm"):
            message = f"{path} makes trials whose networks or inputs differ"
            yield conflict("search.space", message, "leave it out, or use ensemble: members")


def _check_cycles(recipe: Recipe) -> None:
    """Raise what there is to say of the cycles, where they and the warm-up are given in epochs.

    Of lengths in steps that is known only once the data are.
    """
    lengths: list[Warmup | None]
    match recipe.scheduler:
        case CosineRestarts() as scheduler:
            lengths = [scheduler.warmup, scheduler.period]
        case Cyclic() as scheduler:
            lengths = [scheduler.warmup, scheduler.step_size_up, scheduler.step_size_down]
        case scheduler:
            lengths = []
    in_steps = any(isinstance(length, int) and length for length in lengths)
    if in_steps or recipe.training.epochs > MOST_COUNTED:
        return
    steps = recipe.training.steps_per_epoch(EPOCH)
    schedule = scheduler.build(recipe.training.epochs * steps, steps_per_epoch=steps)
    recipe.ensemble.snapshot_steps(schedule, steps_per_epoch=steps)


def _as_conflict(error: UserError, path: str) -> PydanticCustomError:
    """A part's own complaint, `architecture.kind: message`, as a rule's; else one at `path`."""
    named = re.match(r"([a-z_]+(?:\.\w+)*): (.*)", str(error), re.DOTALL)
    return conflict(named[1], named[2]) if named else conflict(path, str(error))


def _stages(recipe: Recipe) -> Iterator[PydanticCustomError]:
    kinds = [stage.kind for stage in recipe.stages]
    in_order = [kind for kind in ORDER if kind in kinds]
    if kinds != in_order:
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        message = f"{', '.join(twice)} is there twice" if twice else "out of the recipe's order"
        yield conflict("stages", message, f"write [{', '.join(in_order)}]")
    if recipe.optimizer.lr == "auto" and "train" in kinds and "lr_probe" not in kinds:
        remedy = "add lr_probe to stages, before train, or give a number"
        yield conflict("optimizer.lr", "auto takes what the lr_probe stage suggests", remedy)


def _comparisons(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether the network has a nonlinearity to exchange, and can be started otherwise."""
    compared = [stage for stage in recipe.stages if isinstance(stage, InitStage)]
    if recipe.architecture.activation is None and any(stage.activations for stage in compared):
        message = f"{recipe.architecture.kind} has its own nonlinearities"
        yield conflict("stages.init.activations", message, "leave it out")


def _transfer(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether there is something to transfer, and a stage that finds out how."""
    strategy, kinds = recipe.transfer.strategy, [stage.kind for stage in recipe.stages]
    if strategy == "none":
        return
    if recipe.architecture.weights is None:
        message = f"{strategy} goes on from pretrained weights, and there are none"
        yield conflict("transfer.strategy", message, "give architecture.weights")
    if strategy == "auto" and "train" in kinds and "transfer" not in kinds:
        message = "auto takes what the transfer stage finds"
        yield conflict("transfer.strategy", message, "add transfer to stages, before train")


def _tasks(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether nothing is asked for that is made for one task, and the weights can be trained."""
    if recipe.data.tasks is None:
        return
    alone = {
        "regularization.mixup": (recipe.regularization.mixup, "mixes two examples"),
        "regularization.cutmix": (recipe.regularization.cutmix, "mixes two examples"),
        "ensemble.kind": (recipe.ensemble.kind != "none", "averages what models say"),
        "transfer.strategy": (recipe.transfer.strategy != "none", "looks at the classes"),
    }
    for path, (asked, does) in alone.items():
        if asked:
            message = f"{does} of one task, and data.tasks are several"
            yield conflict(path, message, "leave it out, or train one task (~data.tasks)")
    loss = recipe.loss
    if not isinstance(loss, TasksLoss):
        return
    weights = loss.weights
    if weights.learns and recipe.optimizer.calls_objective:
        message = f"{weights.kind} changes the loss, which {recipe.optimizer.kind} compares"
        yield conflict("loss.weights.kind", message, "use fixed or auto, or another optimizer")
    if isinstance(weights, GradNorm) and recipe.training.compile == "on":
        message = "on: grad_norm looks into each step, which a compiled network doesn't allow"
        yield conflict("training.compile", message, "leave it at auto")


def _precision(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Gradients in fp16 are scaled step by step, not evaluation by evaluation."""
    if recipe.precision == "fp16" and recipe.optimizer.calls_objective:
        message = f"{recipe.optimizer.kind} evaluates the loss several times in a step, unscaled"
        yield conflict("precision", message, "use bf16 or fp32")
