"""The network that a recipe describes, made for looking at and not for training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.custom import PATH, CustomArchitecture
from nnrecipe.architectures.summary import blueprint, render, summarize
from nnrecipe.core.parameters import assign, render_table
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.targets import blaming
from nnrecipe.stages.init import InitStage
from nnrecipe.training.signals import render_signals

if TYPE_CHECKING:
    from nnrecipe.recipe.model import Recipe


def outline(recipe: Recipe, inputs: InputShape, outputs: OutputSpec) -> nn.Module:
    """The network without memory for its weights, frozen where the recipe says so.

    Raises `UserError` if it can't be built, or if `transfer` doesn't fit it.
    """
    model = blueprint(recipe.architecture, inputs, outputs, hidden=recipe.hidden)
    with next(model.parameters(), torch.empty(0)).device:  # a custom network isn't on meta
        model = recipe.transfer.arrange(model, torch.empty(2, *inputs), outputs=outputs.size)
    rows = assign(model, recipe.transfer.rules(model))
    for row in rows:
        model.get_parameter(row.path).requires_grad_(row.trainable)
    return model


def tables(recipe: Recipe) -> str:
    """Two tables for reading: the layers with their outputs, and how each parameter trains.

    The data are loaded if the recipe doesn't tell their shape. Raises `UserError`.
    """
    inputs, outputs = recipe.data.input_shape(), recipe.data.outputs()
    if inputs is None or outputs is None:
        data = recipe.data.build(device=torch.device("cpu"), seed=recipe.seed)
        inputs, outputs = data.input_shape, data.outputs
    model = outline(recipe, inputs, outputs)
    with blaming_network(recipe.architecture):
        layers = summarize(model, inputs)
    parameters = assign(model, recipe.transfer.rules(model))
    return f"{render(layers, batch_size=recipe.training.batch_size)}\n\n{render_table(parameters)}"


def blaming_network(architecture: Architecture) -> AbstractContextManager[None]:
    """What a user's own network raises is theirs to mend."""
    if isinstance(architecture, CustomArchitecture):
        return blaming(PATH, architecture.target)
    return nullcontext()


def activation_tables(recipe: Recipe) -> str:
    """The signals of the untrained network, layer by layer, on the recipe's own data.

    Mean, spread and saturation of what leaves each layer, and the size of the gradient that comes
    back to it. Raises `UserError`.
    """
    from nnrecipe.recipe.bench import make_bench

    data = recipe.data.build(device=torch.device("cpu"), seed=recipe.seed)
    bench = make_bench(recipe, data, device=torch.device("cpu"))
    with blaming_network(recipe.architecture):
        layers = InitStage().layers(bench, bench.make_model())
    return render_signals(layers)
