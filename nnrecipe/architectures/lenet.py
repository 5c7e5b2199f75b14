"""LeNet-5, as the lecture's table has it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.images import require_image, require_pixels
from nnrecipe.architectures.refusals import NO_BRANCH, refuse
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import Relu
from nnrecipe.layers.blocks import LayerStyle
from nnrecipe.layers.chain import Chain
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import NoNorm
from nnrecipe.layers.width import Width, widened

Layers = OrderedDict[str, nn.Module]


class LeNet5(ArchitectureSpec):
    """Two 5x5 convolutions with pooling, and three linear layers.

    The 1998 network has tanh and average pooling; the defaults are today's ReLU and max pooling,
    with the same parameters. Images below 32x32 pixels are padded by 2, which makes MNIST's 28x28
    the 32x32 of the paper. Norm and DropBlock follow each convolution; dropout follows each hidden
    linear layer.
    """

    source: ClassVar[str] = "LeCun et al. 1998, section II.B"

    kind: Literal["lenet5"] = "lenet5"
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = "kaiming_normal"
    refuses: ClassVar[Mapping[str, str]] = {"regularization.stochastic_depth": NO_BRANCH}
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")
    pool: Literal["max", "avg"] = Field("max", description="how 2x2 pixels become one")
    width: Width = 1.0

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images that leave the second pooling a pixel."""
        why = "two 5x5 convolutions and two poolings"
        require_pixels(inputs, kind=self.kind, least=12, why=why)

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`."""
        refuse(self, hidden)
        self.check_inputs(inputs)
        channels, height, width = require_image(inputs, kind=self.kind)
        padding = 2 if min(height, width) < 32 else 0
        rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
        layers, maps = self._convolutions(channels, padding, hidden)
        layers["flatten"] = nn.Flatten()
        return Chain(layers | self._classifier(maps * rows * columns, outputs.size, hidden))

    def _convolutions(self, channels: int, padding: int, hidden: Hidden) -> tuple[Layers, int]:
        """The layers that see pixels, and the number of their last feature maps."""
        style = LayerStyle(hidden.norm, self.activation)
        layers: Layers = OrderedDict()
        for i, (count, pad) in enumerate(((6, padding), (16, 0)), start=1):
            maps = widened(count, self.width)
            for name, module in style.convolution(channels, maps, size=5, padding=pad):
                layers[f"{name}{i}"] = module
            if (dropblock := hidden.omitted_blocks()) is not None:
                layers[f"dropblock{i}"] = dropblock
            layers[f"pool{i}"] = nn.MaxPool2d(2) if self.pool == "max" else nn.AvgPool2d(2)
            channels = maps
        return layers, channels

    def _classifier(self, features: int, size: int, hidden: Hidden) -> Layers:
        style = LayerStyle(NoNorm(), self.activation)
        layers: Layers = OrderedDict()
        for i, (count, rate) in enumerate(zip((120, 84), hidden.dropout_rates(2), strict=True), 1):
            units = widened(count, self.width)
            (_, layers[f"fc{i}"]), (_, layers[f"act{i + 2}"]) = style.linear(features, units)
            if rate:
                layers[f"drop{i}"] = nn.Dropout(rate)
            features = units
        layers["fc3"] = nn.Linear(features, size)
        return layers
