"""How a model is initialized, whatever the distribution of the weights."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import NORMS
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import Flag, Number, PositiveFloat, Spec
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import MaxPieces
from nnrecipe.layers.residual import ResidualBlock

Layer = nn.Linear | _ConvNd


class InitSpec(Spec):
    """What every way to initialize has.

    The output layer is the last linear or convolutional one, in the order of the model's modules.
    """

    kind: str
    output_gain: PositiveFloat = Field(1.0, description="factor on the output layer's weights")
    output_bias: Literal["target_mean"] | None = Field(
        None, description="start the outputs of a regression at the mean of its targets"
    )
    zero_gamma: Flag = Field(
        False, description="start each residual block as the identity: scale 0 in its last norm"
    )

    def apply(
        self,
        model: nn.Module,
        *,
        activation: Activation | None,
        inputs: Tensor | None = None,
        outputs: OutputSpec | None = None,
    ) -> None:
        """Initialize the model in place, from torch's global generator.

        `activation` sets the gain of the members that have one; None if it isn't known, as in a
        custom model. `inputs` are a batch [N, ...] on the model's device, for the members that look
        at data; `outputs` tells the mean of a regression's targets. Raises `UserError` if the model
        has nothing that the settings apply to.
        """
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        if not layers:
            raise UserError(
                f"init.kind: {self.kind}: the model has no linear or convolutional layer"
            )
        with torch.no_grad():
            self.reset(model, layers, activation)
            self.fit(model, inputs)
            layers[-1].weight.mul_(self.output_gain)
            if self.output_bias is not None:
                start_at_the_mean(layers[-1], outputs)
            if self.zero_gamma:
                for scale in last_scales(model):
                    nn.init.zeros_(scale)

    def check(self, model: nn.Module, outputs: OutputSpec) -> None:
        """Raise `UserError` if the settings don't fit the model or the task; changes nothing."""
        if self.zero_gamma:
            last_scales(model)
        if self.output_bias is not None and outputs.task != "regression":
            raise UserError("init.output_bias: target_mean is for regression: leave it out")

    def reset(self, model: nn.Module, layers: list[Layer], activation: Activation | None) -> None:
        """Draw the weights anew and set the biases."""
        raise NotImplementedError

    def fit(self, model: nn.Module, inputs: Tensor | None) -> None:
        """Adapt the weights to the data, where a member does."""


class WeightInit(InitSpec):
    """The weights of linear and convolutional layers are drawn, their biases are constant.

    Norms start at scale 1 and shift 0. Other modules (embeddings, say) and bare parameters, such as
    a class token or the stacked projections of `nn.MultiheadAttention`, stay as they are. The
    pieces of a maxout are drawn as a layer each: the fan out of one piece is what a gradient sees.
    """

    bias: Number = Field(0.0, description="every bias of a linear or convolutional layer")
    assumed_gain: ClassVar[float] = 1.0

    def reset(self, model: nn.Module, layers: list[Layer], activation: Activation | None) -> None:
        """Draw the weights layer by layer, in the order of the model's modules."""
        for module in model.modules():
            if isinstance(module, NORMS):
                module.reset_parameters()
        gain = self.gain_after(activation)
        pieces = maxout_pieces(model)
        for layer in layers:
            step = pieces.get(layer, 1)
            for first in range(step):
                self.fill(layer.weight[first::step], gain)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, self.bias)

    def gain_after(self, activation: Activation | None) -> float:
        """The factor on all weights: the activation's, or what is assumed of an unknown one."""
        return self.assumed_gain if activation is None else activation.gain()

    def fill(self, weight: Tensor, gain: float) -> None:
        """Draw one weight in place; `gain` makes up for what the nonlinearity takes away."""
        raise NotImplementedError


def maxout_pieces(model: nn.Module) -> dict[nn.Module, int]:
    """Of the layers with a maxout behind them, in the order of modules, how many pieces it has."""
    found: dict[nn.Module, int] = {}
    last: nn.Module | None = None
    for module in model.modules():
        if isinstance(module, Layer):
            last = module
        elif isinstance(module, MaxPieces) and last is not None:
            found[last] = module.pieces
            last = None
    return found


def start_at_the_mean(layer: Layer, outputs: OutputSpec | None) -> None:
    """Set the output layer's bias to the mean of a regression's targets.

    Raises `UserError` if the targets have no mean, or the layer has no such bias.
    """
    mean = outputs.target_mean if outputs is not None else ()
    if not mean:
        raise UserError("init.output_bias: target_mean is for regression: leave it out")
    if layer.bias is None or len(layer.bias) != len(mean):
        found = f"the last layer has no bias for each of {len(mean)} targets"
        raise UserError(f"init.output_bias: {found}: leave it out")
    layer.bias.copy_(torch.tensor(mean))


def last_scales(model: nn.Module) -> list[Tensor]:
    """The scale of each residual block's last norm, to be zeroed (Goyal et al. 2017, section 5.1).

    Not those of blocks whose shortcut leaves channels at zero: such a channel would be zero for
    good. Raises `UserError` if there is no `ResidualBlock`, or they end in no norm whose scale
    trains. A vit's blocks are none, nor are those of torchvision and timm, which have keywords of
    their own.
    """
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        found = "the model has no residual block that ends in a norm, as those of resnet do"
        raise UserError(f"init.zero_gamma: {found}: leave it out")
    scales: list[Tensor] = []
    for block in (block for block in blocks if block.passes_all_channels):
        scale = dict(block.last_norm.named_parameters(recurse=False)).get("weight")
        if scale is None:
            found = "the residual blocks have no norm with a scale that trains"
            raise UserError(f"init.zero_gamma: {found}: set norm.kind: batch, not frozen")
        scales.append(scale)
    return scales
