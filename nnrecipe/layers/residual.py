"""Residual blocks, with torchvision's names and parameter counts. He et al. 2016, section 3."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

if TYPE_CHECKING:
    from nnrecipe.layers import Activation, Norm
    from nnrecipe.layers.dropblock import DropBlock

ShortcutKind = Literal["identity", "projection"]


@dataclass(frozen=True)
class BlockStyle:
    """What the blocks of a network have in common, and what is left out at random in one of them.

    `dropout` zeroes numbers before the last convolution (Zagoruyko and Komodakis 2016, section
    2.4), `dropblock` squares after each convolution, its norm and activation, and in the shortcut
    (Ghiasi et al. 2018, section 4.1), and `skip` is the probability of leaving out an example's
    residual branch (Huang et al. 2016).
    """

    norm: Norm
    activation: Activation
    shortcut: ShortcutKind
    dropout: float = 0.0
    dropblock: DropBlock | None = None
    skip: float = 0.0

    def convolution(
        self, in_channels: int, channels: int, *, size: int, stride: int = 1, last: bool = False
    ) -> nn.Conv2d:
        """A convolution that keeps the image's size / stride.

        It has a bias unless a norm comes right after it: after the `last` one of a branch, that is
        any norm, because the activation comes after the sum.
        """
        bias = not (self.norm.normalizes if last else self.norm.cancels_bias)
        return nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=bias)

    def normalization(self, channels: int) -> nn.Module:
        """The norm over `[N, channels, H, W]`."""
        return self.norm.build(channels, dims=2)

    def activate(self, x: Tensor, norm: nn.Module, activation: nn.Module) -> Tensor:
        """The norm and the activation in their order."""
        if self.norm.position == "after":
            return norm(activation(x))  # type: ignore[no-any-return]
        return activation(norm(x))  # type: ignore[no-any-return]

    def downsample(self, in_channels: int, channels: int, stride: int) -> nn.Module | None:
        """What the shortcut must do to fit the residual; None where the input fits as it is."""
        if stride == 1 and in_channels == channels:
            return None
        if self.shortcut == "identity":
            return PaddedShortcut(channels - in_channels, stride)
        projection = self.convolution(in_channels, channels, size=1, stride=stride, last=True)
        if not self.norm.normalizes:
            return nn.Sequential(projection)
        return nn.Sequential(projection, self.normalization(channels))

    def omission(self, *, dropout: bool = False, skip: bool = False) -> nn.Module | None:
        """What is left out at one place of the block; None where everything stays."""
        modules: list[nn.Module] = []
        if self.dropblock is not None and self.dropblock.active:
            modules.append(self.dropblock.build())
        if dropout and self.dropout:
            modules.append(nn.Dropout(self.dropout))
        if skip and self.skip:
            modules.append(StochasticDepth(self.skip))
        return nn.Sequential(*modules) if modules else None


class StochasticDepth(_DropoutNd):
    """Zeroes whole examples in training, with probability `p`, and scales the others up.

    `torchvision.ops.StochasticDepth` row by row, among torch's dropouts, so that what switches
    those off finds it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, ...]."""
        from torchvision.ops import stochastic_depth

        return stochastic_depth(x, self.p, "row", self.training)  # type: ignore[no-any-return]


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

    @property
    def passes_all_channels(self) -> bool:
        """Whether the shortcut feeds every channel, so that none depends on the branch alone."""
        return not any(isinstance(child, PaddedShortcut) for child in self.children())


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions: [N, C, H, W] -> [N, channels, H / stride, W / stride]."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int, style: BlockStyle) -> None:
        super().__init__()
        self.style = style
        self.conv1 = style.convolution(in_channels, channels, size=3, stride=stride)
        self.bn1 = style.normalization(channels)
        self.act1 = style.activation.build()
        self.omit1 = style.omission(dropout=True)
        self.conv2 = style.convolution(channels, channels, size=3, last=True)
        self.bn2 = style.normalization(channels)
        self.omit2 = style.omission(skip=True)
        self.act2 = style.activation.build()
        self.downsample = style.downsample(in_channels, channels, stride)
        self.omit_shortcut = style.omission()

    @property
    def last_norm(self) -> nn.Module:
        """The second norm."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, in_channels, H, W]."""
        out = self.style.activate(self.conv1(x), self.bn1, self.act1)
        out = _through((self.omit1, self.conv2, self.bn2, self.omit2), out)
        shortcut = _through((self.downsample, self.omit_shortcut), x)
        return self.act2(out + shortcut)  # type: ignore[no-any-return]


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions: [N, C, H, W] -> [N, 4 * channels, H / stride, W / stride].

    The stride is in the 3x3 convolution, as in torchvision ("ResNet v1.5").
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int, style: BlockStyle) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.style = style
        self.conv1 = style.convolution(in_channels, channels, size=1)
        self.bn1 = style.normalization(channels)
        self.act1 = style.activation.build()
        self.omit1 = style.omission()
        self.conv2 = style.convolution(channels, channels, size=3, stride=stride)
        self.bn2 = style.normalization(channels)
        self.act2 = style.activation.build()
        self.omit2 = style.omission(dropout=True)
        self.conv3 = style.convolution(channels, out_channels, size=1, last=True)
        self.bn3 = style.normalization(out_channels)
        self.omit3 = style.omission(skip=True)
        self.act3 = style.activation.build()
        self.downsample = style.downsample(in_channels, out_channels, stride)
        self.omit_shortcut = style.omission()

    @property
    def last_norm(self) -> nn.Module:
        """The third norm."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, in_channels, H, W]."""
        out = self.style.activate(self.conv1(x), self.bn1, self.act1)
        out = _through((self.omit1, self.conv2), out)
        out = self.style.activate(out, self.bn2, self.act2)
        out = _through((self.omit2, self.conv3, self.bn3, self.omit3), out)
        shortcut = _through((self.downsample, self.omit_shortcut), x)
        return self.act3(out + shortcut)  # type: ignore[no-any-return]


def _through(modules: Iterable[nn.Module | None], x: Tensor) -> Tensor:
    """The modules, applied to x one after the other; None leaves it as it is."""
    for module in modules:
        x = x if module is None else module(x)
    return x
