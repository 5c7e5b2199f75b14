"""VGG: 3x3 convolutions in five groups, a pooling after each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

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

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of the convolutions in each group."""

COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> number of convolutions in each group (table 1: A, B, D and E)."""

Layers = OrderedDict[str, nn.Module]


class Vgg(ArchitectureSpec):
    """3x3 convolutions in five groups, in the ImageNet form or with a small head for small images.

    The ImageNet form is torchvision's; the CIFAR form averages the last group's pixels and has one
    linear layer. A norm follows each convolution (torchvision's `vgg16_bn`), DropBlock those of the
    last two groups; dropout is in the classifier, after each hidden layer in the ImageNet form (0.5
    by default), before the only one in the CIFAR form (none by default).
    """

    source: ClassVar[str] = "Simonyan and Zisserman 2015"

    kind: Literal["vgg"] = "vgg"
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = "kaiming_normal"
    refuses: ClassVar[Mapping[str, str]] = {"regularization.stochastic_depth": NO_BRANCH}
    depth: Literal[11, 13, 16, 19] = Field(16, description="layers with weights (ImageNet form)")
    form: Literal["auto", "imagenet", "cifar"] = Field(
        "auto", description="the head; auto is cifar for images below 64 pixels"
    )
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")
    width: Width = 1.0

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images that five poolings leave a pixel."""
        require_pixels(inputs, kind=self.kind, least=32, why="five poolings")

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`."""
        refuse(self, hidden)
        self.check_inputs(inputs)
        channels, height, width = require_image(inputs, kind=self.kind)
        features = self._features(channels, hidden)
        maps = widened(CHANNELS[-1], self.width)
        small = self.form == "cifar" or (self.form == "auto" and min(height, width) < 64)
        if small:
            (rate,) = hidden.dropout_rates(1)
            head = [nn.Dropout(rate), nn.Linear(maps, outputs.size)]
            return VggNet(features, pixels=1, classifier=head)
        classifier = self._imagenet_classifier(maps * 7 * 7, outputs.size, hidden)
        return VggNet(features, pixels=7, classifier=classifier)

    def _features(self, channels: int, hidden: Hidden) -> Layers:
        """The layers under torchvision's numbers; DropBlock takes up none of them."""
        style = LayerStyle(hidden.norm, self.activation)
        layers: Layers = OrderedDict()
        number = 0
        for group, (count, base) in enumerate(zip(COUNTS[self.depth], CHANNELS, strict=True)):
            maps = widened(base, self.width)
            for _ in range(count):
                # torchvision keeps the bias in front of a norm; its checkpoints have it
                for _, module in style.convolution(channels, maps, size=3, padding=1, bias=True):
                    layers[str(number)] = module
                    number += 1
                dropblock = hidden.omitted_blocks() if group >= len(CHANNELS) - 2 else None
                if dropblock is not None:
                    layers[f"dropblock{number}"] = dropblock
                channels = maps
            layers[str(number)] = nn.MaxPool2d(2)
            number += 1
        return layers

    def _imagenet_classifier(self, features: int, size: int, hidden: Hidden) -> list[nn.Module]:
        style = LayerStyle(NoNorm(), self.activation)
        units = widened(4096, self.width)
        layers: list[nn.Module] = []
        for rate in hidden.dropout_rates(2, own=0.5):
            layers += [module for _, module in style.linear(features, units)]
            layers.append(nn.Dropout(rate))
            features = units
        return [*layers, nn.Linear(features, size)]


class VggNet(nn.Module):
    """Features, their average on `pixels` x `pixels`, classifier; torchvision's parameter names."""

    def __init__(self, features: Layers, *, pixels: int, classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = Chain(features)
        self.avgpool = nn.AdaptiveAvgPool2d(pixels)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, outputs]."""
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))  # type: ignore[no-any-return]
