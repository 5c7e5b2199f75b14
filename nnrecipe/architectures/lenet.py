"""LeNet-5 (LeCun et al. 1998), as the lecture's table has it."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.architectures.images import require_image, require_pixels
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Spec
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.activations import Relu


class LeNet5(Spec):
    """Two 5x5 convolutions with pooling, and three linear layers.

    The 1998 network has tanh and average pooling; the defaults are today's ReLU and max pooling,
    with the same parameters. Images below 32x32 pixels are padded by 2, which makes MNIST's 28x28
    the 32x32 of the paper. A norm follows each convolution; dropout follows each hidden linear
    layer.
    """

    kind: Literal["lenet5"] = "lenet5"
    default_norm: ClassVar[str] = "none"
    takes_norm: ClassVar[bool] = True
    takes_dropout: ClassVar[bool] = True
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")
    pool: Literal["max", "avg"] = Field("max", description="how 2x2 pixels become one")

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images that leave the second pooling a pixel."""
        why = "two 5x5 convolutions and two poolings"
        require_pixels(inputs, kind=self.kind, least=12, why=why)

    def build(
        self, inputs: InputShape, outputs: OutputSpec, *, norm: Norm, dropout: float | None
    ) -> nn.Module:
        """`[N, C, H, W]` -> logits `[N, num_classes]`."""
        self.check_inputs(inputs)
        channels, height, width = require_image(inputs, kind=self.kind)
        padding = 2 if min(height, width) < 32 else 0
        sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (maps, pad) in enumerate(((6, padding), (16, 0)), start=1):
            layers[f"conv{i}"] = nn.Conv2d(channels, maps, 5, padding=pad, bias=not norm.normalizes)
            if norm.normalizes:
                layers[f"norm{i}"] = norm.build(maps, dims=2)
            layers[f"act{i}"] = self.activation.build()
            layers[f"pool{i}"] = nn.MaxPool2d(2) if self.pool == "max" else nn.AvgPool2d(2)
            channels = maps
        layers["flatten"] = nn.Flatten()
        features = channels * sides[0] * sides[1]
        for i, units in enumerate((120, 84), start=1):
            layers[f"fc{i}"] = nn.Linear(features, units)
            layers[f"act{i + 2}"] = self.activation.build()
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
            features = units
        layers["fc3"] = nn.Linear(features, outputs.num_classes)
        return nn.Sequential(layers)
