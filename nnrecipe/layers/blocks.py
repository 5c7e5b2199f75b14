"""One hidden layer: linear or convolution, and the norm and the nonlinearity in their order.

Each function gives named modules for an `nn.Sequential`: `fc` or `conv`, then `norm` and `act`.
Maxout comes out right: the layer and a norm before it have `pieces` channels for each of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.norms import Dims

Named = Iterator[tuple[str, nn.Module]]


@dataclass(frozen=True)
class LayerStyle:
    """What all the hidden layers of a network have in common."""

    norm: Norm
    activation: Activation

    def linear(self, features: int, units: int, *, bias: bool | None = None) -> Named:
        """[N, features] -> [N, units], with a bias unless the norm replaces it; `bias` decides."""
        outputs = units * self.activation.pieces
        yield "fc", nn.Linear(features, outputs, bias=self._bias(bias))
        yield from self.nonlinearity(units, dims=0)

    def convolution(
        self,
        in_channels: int,
        channels: int,
        *,
        size: int,
        padding: int = 0,
        stride: int = 1,
        bias: bool | None = None,
    ) -> Named:
        """[N, in_channels, H, W] -> [N, channels, H', W'], the bias as in `linear`."""
        outputs = channels * self.activation.pieces
        bias = self._bias(bias)
        yield "conv", nn.Conv2d(in_channels, outputs, size, stride, padding=padding, bias=bias)
        yield from self.nonlinearity(channels, dims=2)

    def nonlinearity(self, channels: int, *, dims: Dims) -> Named:
        """What follows a layer: the activation, which leaves `channels`, and the norm."""
        if not self.norm.normalizes:
            yield "act", self.activation.build()
        elif self.norm.position == "before":
            yield "norm", self.norm.build(channels * self.activation.pieces, dims=dims)
            yield "act", self.activation.build()
        else:
            yield "act", self.activation.build()
            yield "norm", self.norm.build(channels, dims=dims)

    def _bias(self, given: bool | None) -> bool:
        return not self.norm.cancels_bias if given is None else given
