"""Residual networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.images import require_image
from nnrecipe.architectures.refusals import refuse
from nnrecipe.core.errors import conflict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import Relu
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.residual import BasicBlock, BlockStyle, Bottleneck, ShortcutKind
from nnrecipe.layers.width import Width, widened

Block = type[BasicBlock] | type[Bottleneck]

IMAGENET: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Depth -> block and number of blocks in each stage (table 1)."""

CifarDepth = Literal[8, 14, 20, 26, 32, 38, 44, 56, 62, 68, 74, 80, 86, 92, 98, 104, 110]
ImageNetDepth = Literal[18, 34, 50, 101, 152]

NO_DROPOUT = (
    "resnet takes no dropout: batch norm already regularizes, and dropout changes the variance "
    "between training and evaluation, which batch norm's running statistics then miss: leave it "
    "out, use l2, dropblock or stochastic_depth, or insist on it with regularization.dropout.force"
)


class ResNet(ArchitectureSpec):
    """A stem, stages of residual blocks, global average pooling and one linear layer.

    Depths 6n + 2 are the paper's CIFAR form (section 4.2: 16, 32 and 64 channels, a 3x3 stem); 50,
    which is 6n + 2 too, and 18, 34, 101 and 152 are the ImageNet form, which is torchvision's.
    Parameters have torchvision's names in both.

    With `norm.position: after` a convolution's activation comes before its norm, but the norm that
    ends a residual branch stays before the sum, and the activation after it.
    DropBlock is in the last two stages. The probability of leaving out a residual branch rises
    linearly from the first block to the last, where it is `regularization.stochastic_depth`. Forced
    dropout is in each block, before its last convolution.
    """

    source: ClassVar[str] = "He et al. 2016"

    kind: Literal["resnet"] = "resnet"
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    default_norm: ClassVar[str] = "batch"
    default_init: ClassVar[str | None] = "kaiming_normal"
    refuses: ClassVar[Mapping[str, str]] = {"regularization.dropout": NO_DROPOUT}
    depth: CifarDepth | ImageNetDepth = Field(
        20, description="layers with weights; 8 to 110 in steps of 6 are for small images, but 50"
    )
    shortcut: Literal["auto"] | ShortcutKind = Field(
        "auto",
        description="where the shape changes: identity pads with zeros, projection has weights; "
        "auto is identity in the CIFAR form, projection in the ImageNet form",
    )
    activation: Activation = Field(Relu(), description="nonlinearity after each convolution")
    width: Width = 1.0

    @model_validator(mode="after")
    def _fits_a_sum(self) -> Self:
        if self.activation.pieces > 1:
            message = (
                f"{self.activation.kind} leaves fewer channels than it gets, but after the sum of "
                "a residual block the next one needs them all"
            )
            raise conflict("architecture.activation", message, "use relu or leaky_relu")
        return self

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images, of any size."""
        require_image(inputs, kind=self.kind)

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`. Raises `UserError` on dropout without force."""
        refuse(self, hidden)
        in_channels, height, width = require_image(inputs, kind=self.kind)
        imagenet = self.depth in IMAGENET
        block, counts = IMAGENET.get(self.depth, (BasicBlock, ((self.depth - 2) // 6,) * 3))
        base, stem, halvings = (64, _imagenet_stem, 5) if imagenet else (16, _cifar_stem, 2)
        widths = [widened(base * 2**i, self.width) for i in range(len(counts))]
        if max(height, width) <= 2**halvings:  # the last stage's maps are single pixels
            hidden.norm.build(widths[-1], dims=0)  # refuses if it can't normalize vectors
        automatic: ShortcutKind = "projection" if imagenet else "identity"
        shortcut = automatic if self.shortcut == "auto" else self.shortcut
        style = BlockStyle(hidden.norm, self.activation, shortcut)
        layers = stem(in_channels, widths[0], style)
        channels = widths[0]
        styles = _stage_styles(style, counts, hidden)
        for i, (narrow, blocks) in enumerate(zip(widths, styles, strict=True), start=1):
            stride = 1 if i == 1 else 2
            layers[f"layer{i}"] = _stage(block, channels, narrow, stride=stride, styles=blocks)
            channels = narrow * block.expansion
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(channels, outputs.size)
        return nn.Sequential(layers)


def _imagenet_stem(
    in_channels: int, channels: int, style: BlockStyle
) -> OrderedDict[str, nn.Module]:
    """A quarter of the height and width."""
    layers = _stem(style, style.convolution(in_channels, channels, size=7, stride=2))
    layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return layers


def _cifar_stem(in_channels: int, channels: int, style: BlockStyle) -> OrderedDict[str, nn.Module]:
    """The full height and width."""
    return _stem(style, style.convolution(in_channels, channels, size=3))


def _stem(style: BlockStyle, convolution: nn.Conv2d) -> OrderedDict[str, nn.Module]:
    """The convolution, and its norm and activation in their order."""
    norm, activation = style.normalization(convolution.out_channels), style.activation.build()
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=convolution, bn1=norm, act1=activation)
    if style.norm.position == "after":
        layers.move_to_end("bn1")
    return layers


def _stage_styles(
    style: BlockStyle, counts: Sequence[int], hidden: Hidden
) -> Iterator[list[BlockStyle]]:
    """The style of every block, stage by stage: what is left out depends on the place."""
    total = sum(counts)
    rates = hidden.dropout_rates(total)
    done = 0
    for i, count in enumerate(counts):
        dropblock = hidden.dropblock if i >= len(counts) - 2 else None
        yield [
            replace(
                style,
                dropout=rates[number],
                dropblock=dropblock,
                skip=hidden.stochastic_depth * (number + 1) / total,
            )
            for number in range(done, done + count)
        ]
        done += count


def _stage(
    block: Block, in_channels: int, channels: int, *, stride: int, styles: Sequence[BlockStyle]
) -> nn.Sequential:
    """A block for each style; the first changes the channels and, by `stride`, the size."""
    first, *others = styles
    blocks = [block(in_channels, channels, stride=stride, style=first)]
    out_channels = channels * block.expansion
    blocks += [block(out_channels, channels, stride=1, style=style) for style in others]
    return nn.Sequential(*blocks)
