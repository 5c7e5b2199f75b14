"""Residual blocks (He et al. 2016), with torchvision's names and parameter counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from nnrecipe.layers import Activation, Norm

ShortcutKind = Literal["identity", "projection"]


@dataclass(frozen=True)
class BlockStyle:
    """What all the blocks of a network have in common."""

    norm: Norm
    activation: Activation
    shortcut: ShortcutKind

    def convolution(
        self, in_channels: int, channels: int, *, size: int, stride: int = 1
    ) -> nn.Conv2d:
        """A convolution that keeps the image's size / stride; it has a bias if no norm follows."""
        bias = not self.norm.normalizes
        return nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=bias)

    def normalization(self, channels: int) -> nn.Module:
        """The norm over `[N, channels, H, W]`."""
        return self.norm.build(channels, dims=2)

    def downsample(self, in_channels: int, channels: int, stride: int) -> nn.Module | None:
        """What the shortcut must do to fit the residual; None where the input fits as it is."""
        if stride == 1 and in_channels == channels:
            return None
        if self.shortcut == "identity":
            return PaddedShortcut(channels - in_channels, stride)
        projection = self.convolution(in_channels, channels, size=1, stride=stride)
        if not self.norm.normalizes:
            return nn.Sequential(projection)
        return nn.Sequential(projection, self.normalization(channels))


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, and zeros for the new channels: He's option A, no parameters.

    The zeros are split between both ends, as in the public CIFAR-10 checkpoints.
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, C + new_channels, ceil(H / stride), ceil(W / stride)]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class ResidualBlock(nn.Module):
    """activation(residual(x) + shortcut(x)).

    `init.zero_gamma` knows blocks by this class: a model of your own may derive from it.
    """

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends the residual branch; with its scale at zero the block passes x on."""
        raise NotImplementedError


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions: [N, C, H, W] -> [N, channels, H / stride, W / stride]."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int, style: BlockStyle) -> None:
        super().__init__()
        self.conv1 = style.convolution(in_channels, channels, size=3, stride=stride)
        self.bn1 = style.normalization(channels)
        self.act1 = style.activation.build()
        self.conv2 = style.convolution(channels, channels, size=3)
        self.bn2 = style.normalization(channels)
        self.act2 = style.activation.build()
        self.downsample = style.downsample(in_channels, channels, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The second norm."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, in_channels, H, W]."""
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.act2(out + shortcut)  # type: ignore[no-any-return]


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions: [N, C, H, W] -> [N, 4 * channels, H / stride, W / stride].

    The stride is in the 3x3 convolution, as in torchvision ("ResNet v1.5").
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int, style: BlockStyle) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = style.convolution(in_channels, channels, size=1)
        self.bn1 = style.normalization(channels)
        self.act1 = style.activation.build()
        self.conv2 = style.convolution(channels, channels, size=3, stride=stride)
        self.bn2 = style.normalization(channels)
        self.act2 = style.activation.build()
        self.conv3 = style.convolution(channels, out_channels, size=1)
        self.bn3 = style.normalization(out_channels)
        self.act3 = style.activation.build()
        self.downsample = style.downsample(in_channels, out_channels, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The third norm."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, in_channels, H, W]."""
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.act3(out + shortcut)  # type: ignore[no-any-return]
