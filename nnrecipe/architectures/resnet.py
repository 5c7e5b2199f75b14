"""Residual networks (He et al. 2016)."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.architectures.images import require_image
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Spec
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.activations import Relu
from nnrecipe.layers.residual import BasicBlock, BlockStyle, Bottleneck, ShortcutKind

Block = type[BasicBlock] | type[Bottleneck]

IMAGENET: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Depth -> block and number of blocks in each stage (table 1)."""

NO_DROPOUT = (
    "regularization.dropout: resnet takes no dropout: batch norm already regularizes, and dropout "
    "changes the variance between training and evaluation, which batch norm's running statistics "
    "then miss: drop the key, or use regularization.l2"
)


class ResNet(Spec):
    """A stem, stages of residual blocks, global average pooling and one linear layer.

    Depths 20, 32, 44 and 56 are the paper's CIFAR form (section 4.2: 16, 32 and 64 channels, a 3x3
    stem), 18, 34, 50 and 101 the ImageNet form, which is torchvision's. Parameters have
    torchvision's names in both.
    """

    kind: Literal["resnet"] = "resnet"
    default_norm: ClassVar[str] = "batch"
    takes_norm: ClassVar[bool] = True
    takes_dropout: ClassVar[bool] = False
    depth: Literal[20, 32, 44, 56, 18, 34, 50, 101] = Field(
        20, description="layers with weights; 20 to 56 in steps of 12 are for small images"
    )
    shortcut: Literal["auto"] | ShortcutKind = Field(
        "auto",
        description="where the shape changes: identity pads with zeros, projection has weights; "
        "auto is identity in the CIFAR form, projection in the ImageNet form",
    )
    activation: Activation = Field(Relu(), description="nonlinearity after each convolution")

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images, of any size."""
        require_image(inputs, kind=self.kind)

    def build(
        self, inputs: InputShape, outputs: OutputSpec, *, norm: Norm, dropout: float | None
    ) -> nn.Module:
        """`[N, C, H, W]` -> logits `[N, num_classes]`. Raises `UserError` on dropout."""
        if dropout:
            raise UserError(NO_DROPOUT)
        in_channels, *_ = require_image(inputs, kind=self.kind)
        imagenet = self.depth in IMAGENET
        automatic: ShortcutKind = "projection" if imagenet else "identity"
        shortcut = automatic if self.shortcut == "auto" else self.shortcut
        style = BlockStyle(norm, self.activation, shortcut)
        if imagenet:
            layers = _imagenet_stem(in_channels, style)
            block, counts = IMAGENET[self.depth]
        else:
            layers = _cifar_stem(in_channels, style)
            block, counts = BasicBlock, ((self.depth - 2) // 6,) * 3
        channels = width = 64 if imagenet else 16
        for i, count in enumerate(counts, start=1):
            stride = 1 if i == 1 else 2
            layers[f"layer{i}"] = _stage(block, channels, width, count, stride=stride, style=style)
            channels, width = width * block.expansion, width * 2
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(channels, outputs.num_classes)
        return nn.Sequential(layers)


def _imagenet_stem(in_channels: int, style: BlockStyle) -> OrderedDict[str, nn.Module]:
    """A quarter of the height and width, 64 channels."""
    return OrderedDict(
        conv1=style.convolution(in_channels, 64, size=7, stride=2),
        bn1=style.normalization(64),
        act1=style.activation.build(),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )


def _cifar_stem(in_channels: int, style: BlockStyle) -> OrderedDict[str, nn.Module]:
    """The full height and width, 16 channels."""
    return OrderedDict(
        conv1=style.convolution(in_channels, 16, size=3),
        bn1=style.normalization(16),
        act1=style.activation.build(),
    )


def _stage(
    block: Block, in_channels: int, channels: int, count: int, *, stride: int, style: BlockStyle
) -> nn.Sequential:
    """`count` blocks, the first of which changes the channels and, by `stride`, the size."""
    first = block(in_channels, channels, stride=stride, style=style)
    out_channels = channels * block.expansion
    others = (block(out_channels, channels, stride=1, style=style) for _ in range(count - 1))
    return nn.Sequential(first, *others)
