"""Weights whose size fits the layer, so that signals keep theirs from layer to layer.

The output layer's weights are a tenth of that by default: the logits start near zero, and the loss
near that of a uniform guess.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.spec import PositiveFloat
from nnrecipe.init.base import WeightInit

FanMode = Literal["fan_in", "fan_out"]


class ScaledInit(WeightInit):
    """`output_gain` has another default here; the gain is the activation's."""

    output_gain: PositiveFloat = Field(0.1, description="factor on the output layer's weights")


class XavierNormal(ScaledInit):
    """N(0, gain^2 * 2 / (fan_in + fan_out)) (Glorot and Bengio 2010); gain 1 if unknown."""

    kind: Literal["xavier_normal"] = "xavier_normal"

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent normal numbers."""
        nn.init.xavier_normal_(weight, gain)


class XavierUniform(ScaledInit):
    """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); else as above."""

    kind: Literal["xavier_uniform"] = "xavier_uniform"

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent uniform numbers."""
        nn.init.xavier_uniform_(weight, gain)


class KaimingNormal(ScaledInit):
    """N(0, gain^2 / fan) (He et al. 2015); ReLU's gain if unknown."""

    kind: Literal["kaiming_normal"] = "kaiming_normal"
    assumed_gain: ClassVar[float] = math.sqrt(2)
    mode: FanMode = Field("fan_in", description="keep the size of activations or of gradients")

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent normal numbers."""
        nn.init.kaiming_normal_(weight, mode=self.mode, nonlinearity="linear").mul_(gain)


class KaimingUniform(ScaledInit):
    """U(-a, a), a = gain * sqrt(3 / fan) (He et al. 2015); ReLU's gain if unknown."""

    kind: Literal["kaiming_uniform"] = "kaiming_uniform"
    assumed_gain: ClassVar[float] = math.sqrt(2)
    mode: FanMode = Field("fan_in", description="keep the size of activations or of gradients")

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent uniform numbers."""
        nn.init.kaiming_uniform_(weight, mode=self.mode, nonlinearity="linear").mul_(gain)


class Orthogonal(ScaledInit):
    """gain times an orthogonal matrix (Saxe et al. 2014); gain 1 if unknown."""

    kind: Literal["orthogonal"] = "orthogonal"

    def fill(self, weight: Tensor, gain: float) -> None:
        """A random orthogonal matrix; for a convolution, over [out, in * height * width]."""
        nn.init.orthogonal_(weight, gain)
