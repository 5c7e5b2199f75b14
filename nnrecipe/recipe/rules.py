"""What has to hold between the parts of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.image_folder import ImageFolder
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.losses import CrossEntropy
from nnrecipe.recipe.network import outline
from nnrecipe.stages import Stage
from nnrecipe.stages.overfit import OverfitStage

if TYPE_CHECKING:
    from nnrecipe.recipe.model import Recipe

ORDER = tuple(kind_of(stage) for stage in members(Stage))
"""The kinds of stages, in the order in which a recipe walks them."""


def conflicts(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Everything in which the parts don't fit each other."""
    yield from _network(recipe)
    yield from _batches(recipe)
    yield from _loss(recipe)
    yield from _stages(recipe)
    yield from _schedule(recipe)


def _network(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether the architecture can be built as it is asked for."""
    architecture, dropout = recipe.architecture, recipe.regularization.dropout
    refused = False
    if dropout and not architecture.takes_dropout:
        message = f"{architecture.kind} takes no dropout, got {dropout:g}"
        yield conflict("regularization.dropout", message, "leave it out, or use regularization.l2")
        refused = True
    if recipe.norm.normalizes and not architecture.takes_norm:
        message = f"{architecture.kind} takes no norm, got {recipe.norm.kind}"
        yield conflict("norm", message, "leave it out: the network's own code has its norms")
        refused = True
    if refused or architecture.kind == "custom":
        return
    try:
        _try_to_build(recipe)
    except UserError as error:
        yield _as_conflict(error, "architecture")


def _try_to_build(recipe: Recipe) -> None:
    """Build the network without memory for its weights, as far as the data's shape is known."""
    inputs, classes = recipe.data.input_shape(), recipe.data.num_classes()
    shape = inputs or _size_alone(recipe)
    if shape is not None:
        recipe.architecture.check_inputs(shape)
    if inputs is not None and classes is not None:
        outline(recipe, inputs, classes)


def _size_alone(recipe: Recipe) -> InputShape | None:
    """The images' shape where their size is given, though not yet whether they are gray."""
    size = recipe.data.image_size if isinstance(recipe.data, ImageFolder) else None
    return None if size is None else (3, size, size)


def _batches(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether batch norm gets more than one example to take statistics of."""
    if not isinstance(recipe.norm, BatchNorm):
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
    """Whether each class has its weight."""
    loss, classes = recipe.loss, recipe.data.num_classes()
    listed = isinstance(loss, CrossEntropy) and isinstance(loss.class_weights, tuple)
    if not listed or classes is None:
        return
    try:
        loss.build(OutputSpec(classes))
    except UserError as error:
        yield _as_conflict(error, "loss")


def _schedule(recipe: Recipe) -> Iterator[PydanticCustomError]:
    """Whether a warm-up that is given in epochs leaves some of the training."""
    warmup, epochs = recipe.scheduler.warmup, recipe.training.epochs
    if isinstance(warmup, str) and float(warmup.split()[0]) >= epochs:
        message = f"{warmup} leaves nothing of the training, which has training.epochs: {epochs}"
        yield conflict("scheduler.warmup", message, "shorten it, or train longer")


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
