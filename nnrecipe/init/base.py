"""How a model is initialized, whatever the distribution of the weights."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import NORMS
from nnrecipe.core.spec import Flag, Number, PositiveFloat, Spec
from nnrecipe.layers import Activation
from nnrecipe.layers.residual import ResidualBlock

Layer = nn.Linear | _ConvNd


class InitSpec(Spec):
    """What every way to initialize has.

    The output layer is the last linear or convolutional one, in the order of the model's modules.
    """

    kind: str
    output_gain: PositiveFloat = Field(1.0, description="factor on the output layer's weights")
    zero_gamma: Flag = Field(
        False, description="start each residual block as the identity: scale 0 in its last norm"
    )

    def apply(self, model: nn.Module, *, activation: Activation | None) -> None:
        """Initialize the model in place, from torch's global generator.

        `activation` sets the gain of the members that have one; None if it isn't known, as in a
        custom model. Raises `UserError` if the model has nothing that the settings apply to.
        """
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        if not layers:
            raise UserError(
                f"init.kind: {self.kind}: the model has no linear or convolutional layer"
            )
        with torch.no_grad():
            self.reset(model, layers, activation)
            layers[-1].weight.mul_(self.output_gain)
            if self.zero_gamma:
                zero_last_norms(model)

    def reset(self, model: nn.Module, layers: list[Layer], activation: Activation | None) -> None:
        """Draw the weights anew and set the biases."""
        raise NotImplementedError


class WeightInit(InitSpec):
    """The weights of linear and convolutional layers are drawn, their biases are constant.

    Norms start at scale 1 and shift 0. Other modules and bare parameters, which only custom models
    have, stay as they are.
    """

    bias: Number = Field(0.0, description="every bias of a linear or convolutional layer")
    assumed_gain: ClassVar[float] = 1.0

    def reset(self, model: nn.Module, layers: list[Layer], activation: Activation | None) -> None:
        """Draw the weights layer by layer, in the order of the model's modules."""
        for module in model.modules():
            if isinstance(module, NORMS):
                module.reset_parameters()
        gain = self.assumed_gain if activation is None else activation.gain()
        for layer in layers:
            self.fill(layer.weight, gain)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, self.bias)

    def fill(self, weight: Tensor, gain: float) -> None:
        """Draw one weight in place; `gain` makes up for what the nonlinearity takes away."""
        raise NotImplementedError


def zero_last_norms(model: nn.Module) -> None:
    """Set the scale of each residual block's last norm to zero (Goyal et al. 2017, section 5.1).

    Raises `UserError` if there are no residual blocks, or they end in no norm with a scale.
    """
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise UserError("init.zero_gamma: the model has no residual block: use false")
    for block in blocks:
        scale = dict(block.last_norm.named_parameters(recurse=False)).get("weight")
        if scale is None:
            raise UserError(
                "init.zero_gamma: the residual blocks have no norm: set norm.kind: batch"
            )
        nn.init.zeros_(scale)
