"""AlexNet (Krizhevsky et al. 2012): five convolutions and three linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.images import require_image, require_pixels
from nnrecipe.architectures.refusals import NO_BRANCH, refuse
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import Relu
from nnrecipe.layers.blocks import LayerStyle
from nnrecipe.layers.chain import Chain
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import NoNorm
from nnrecipe.layers.width import Width, widened

CHANNELS = (64, 192, 384, 256, 256)
"""Channels of the convolutions."""
POOLED = (0, 1, 4)
"""The convolutions that a pooling follows."""
LEAST = {"imagenet": 63, "cifar": 16}
"""The smallest side of an image that leaves the last pooling a pixel, or two of them."""


class AlexNet(ArchitectureSpec):
    """Five convolutions with overlapping max pooling, and three linear layers.

    The ImageNet form is torchvision's, in one tower and without the paper's response
    normalization. The CIFAR form starts with 5x5 pixels and stride 1 in place of 11x11 and stride
    4, and has an eighth of the units in its linear layers. A norm goes with each convolution,
    DropBlock follows the last three; dropout comes before each hidden linear layer, by default 0.5
    in the ImageNet form and none in the CIFAR form.
    """

    source: ClassVar[str] = "Krizhevsky et al. 2012, section 3; Krizhevsky 2014 for one tower"
    kind: Literal["alexnet"] = "alexnet"
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = "kaiming_normal"
    refuses: ClassVar[Mapping[str, str]] = {"regularization.stochastic_depth": NO_BRANCH}
    form: Literal["auto", "imagenet", "cifar"] = Field(
        "auto", description="for large or for small images; auto is cifar below 64 pixels"
    )
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")
    width: Width = 1.0

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images, large enough for the form."""
        _, height, width = require_image(inputs, kind=self.kind)
        form = self._form(inputs)
        if form == "imagenet" and min(height, width) < LEAST[form]:
            least = f"{LEAST[form]}x{LEAST[form]}"
            raise UserError(
                f"architecture.form: imagenet needs at least {least} pixels, the data has "
                f"{height}x{width}: use cifar, or set data.image_size: 224"
            )
        why = "three poolings and a classifier of 2x2 pixels"
        require_pixels(inputs, kind=self.kind, least=LEAST[form], why=why)

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`. Raises `UserError` on what doesn't fit."""
        refuse(self, hidden)
        self.check_inputs(inputs)
        imagenet = self._form(inputs) == "imagenet"
        pixels, units, own = (6, 4096, 0.5) if imagenet else (2, 512, 0.0)
        rates = hidden.dropout_rates(2, own=own)
        features = widened(CHANNELS[-1], self.width) * pixels**2
        classifier = self._classifier(features, widened(units, self.width), rates)
        return nn.Sequential(
            OrderedDict(
                features=Chain(OrderedDict(self._features(inputs, hidden))),
                avgpool=nn.AdaptiveAvgPool2d(pixels),
                flatten=nn.Flatten(),
                classifier=nn.Sequential(
                    *classifier, nn.Linear(widened(units, self.width), outputs.size)
                ),
            )
        )

    def _form(self, inputs: InputShape) -> Literal["imagenet", "cifar"]:
        if self.form != "auto":
            return self.form
        return "cifar" if min(inputs[1:]) < 64 else "imagenet"

    def _features(self, inputs: InputShape, hidden: Hidden) -> Iterator[tuple[str, nn.Module]]:
        """Layers by torchvision's numbers; DropBlock has none, so that it renames no parameter."""
        imagenet = self._form(inputs) == "imagenet"
        style = LayerStyle(hidden.norm, self.activation)
        number, channels = 0, inputs[0]
        for i, maps in enumerate(widened(c, self.width) for c in CHANNELS):
            size, stride, padding = (5, 1, 2) if i < 2 else (3, 1, 1)
            if imagenet and i == 0:
                size, stride, padding = 11, 4, 2
            layers = style.convolution(channels, maps, size=size, stride=stride, padding=padding)
            for _, layer in layers:
                yield str(number), layer
                number += 1
            blocks = hidden.omitted_blocks() if i >= 2 else None
            if blocks is not None:
                yield f"dropblock{i + 1}", blocks
            if i in POOLED:
                yield str(number), nn.MaxPool2d(3, stride=2, padding=0 if imagenet else 1)
                number += 1
            channels = maps

    def _classifier(
        self, features: int, units: int, rates: tuple[float, ...]
    ) -> Iterator[nn.Module]:
        style = LayerStyle(NoNorm(), self.activation)
        for rate in rates:
            yield nn.Dropout(rate)
            yield from (layer for _, layer in style.linear(features, units))
            features = units
