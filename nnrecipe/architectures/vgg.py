"""VGG (Simonyan and Zisserman 2015): 3x3 convolutions in five groups, a pooling after each."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.architectures.images import require_image, require_pixels
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Spec
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.activations import Relu

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of the convolutions in each group."""

COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> number of convolutions in each group (table 1: A, B, D and E)."""


class Vgg(Spec):
    """VGG in its ImageNet form, which is torchvision's, or with a small head for small images.

    The CIFAR form averages the last group's pixels and has one linear layer. A norm follows each
    convolution (torchvision's `vgg16_bn`); dropout is in the classifier, 0.5 by default in the
    ImageNet form and none in the CIFAR form.
    """

    kind: Literal["vgg"] = "vgg"
    default_norm: ClassVar[str] = "none"
    takes_norm: ClassVar[bool] = True
    takes_dropout: ClassVar[bool] = True
    depth: Literal[11, 13, 16, 19] = Field(16, description="layers with weights (ImageNet form)")
    form: Literal["auto", "imagenet", "cifar"] = Field(
        "auto", description="the head; auto is cifar for images below 64 pixels"
    )
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images that five poolings leave a pixel."""
        require_pixels(inputs, kind=self.kind, least=32, why="five poolings")

    def build(
        self, inputs: InputShape, outputs: OutputSpec, *, norm: Norm, dropout: float | None
    ) -> nn.Module:
        """`[N, C, H, W]` -> logits `[N, num_classes]`."""
        self.check_inputs(inputs)
        channels, height, width = require_image(inputs, kind=self.kind)
        features = self._features(channels, norm)
        small = self.form == "cifar" or (self.form == "auto" and min(height, width) < 64)
        if small:
            head = nn.Linear(CHANNELS[-1], outputs.num_classes)
            return VggNet(features, pixels=1, classifier=[nn.Dropout(dropout or 0.0), head])
        dropout = 0.5 if dropout is None else dropout
        classifier = self._imagenet_classifier(outputs.num_classes, dropout)
        return VggNet(features, pixels=7, classifier=classifier)

    def _features(self, channels: int, norm: Norm) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for count, maps in zip(COUNTS[self.depth], CHANNELS, strict=True):
            for _ in range(count):
                # torchvision keeps the bias in front of a norm; its checkpoints have it
                layers.append(nn.Conv2d(channels, maps, 3, padding=1))
                if norm.normalizes:
                    layers.append(norm.build(maps, dims=2))
                layers.append(self.activation.build())
                channels = maps
            layers.append(nn.MaxPool2d(2))
        return layers

    def _imagenet_classifier(self, num_classes: int, dropout: float) -> list[nn.Module]:
        layers: list[nn.Module] = []
        features = CHANNELS[-1] * 7 * 7
        for _ in range(2):
            layers += [nn.Linear(features, 4096), self.activation.build(), nn.Dropout(dropout)]
            features = 4096
        return [*layers, nn.Linear(features, num_classes)]


class VggNet(nn.Module):
    """Features, their average on `pixels` x `pixels`, classifier; torchvision's parameter names."""

    def __init__(
        self, features: list[nn.Module], *, pixels: int, classifier: list[nn.Module]
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(pixels)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> logits [N, num_classes]."""
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))  # type: ignore[no-any-return]
