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
from nnrecipe.layers import Activation

FanMode = Literal["fan_in", "fan_out"]


class ScaledInit(WeightInit):
    """`output_gain` has another default here."""

    output_gain: PositiveFloat = Field(0.1, description="factor on the output layer's weights")


class GainInit(ScaledInit):
    """A factor on all weights makes up for what the nonlinearity takes away."""

    gain: PositiveFloat | None = Field(
        None, description="factor on all weights; null: the one that the nonlinearity asks for"
    )

    def gain_after(self, activation: Activation | None) -> float:
        """The declared gain, else the activation's."""
        return super().gain_after(activation) if self.gain is None else self.gain


class XavierNormal(GainInit):
    """N(0, gain^2 * 2 / (fan_in + fan_out)); gain 1 if the activation is unknown."""

    source: ClassVar[str] = "Glorot and Bengio 2010, section 4.2.1"

    kind: Literal["xavier_normal"] = "xavier_normal"

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent normal numbers."""
        nn.init.xavier_normal_(weight, gain)


class XavierUniform(GainInit):
    """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)); gain 1 if the activation is unknown."""

    source: ClassVar[str] = "Glorot and Bengio 2010, section 4.2.1"

    kind: Literal["xavier_uniform"] = "xavier_uniform"

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent uniform numbers."""
        nn.init.xavier_uniform_(weight, gain)


class KaimingNormal(GainInit):
    """N(0, gain^2 / fan); ReLU's gain if the activation is unknown."""

    source: ClassVar[str] = "He et al. 2015, section 2.2"

    kind: Literal["kaiming_normal"] = "kaiming_normal"
    assumed_gain: ClassVar[float] = math.sqrt(2)
    mode: FanMode = Field("fan_in", description="keep the size of activations or of gradients")

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent normal numbers."""
        nn.init.kaiming_normal_(weight, mode=self.mode, nonlinearity="linear").mul_(gain)


class KaimingUniform(GainInit):
    """U(-a, a), a = gain * sqrt(3 / fan); ReLU's gain if the activation is unknown."""

    source: ClassVar[str] = "He et al. 2015, section 2.2"

    kind: Literal["kaiming_uniform"] = "kaiming_uniform"
    assumed_gain: ClassVar[float] = math.sqrt(2)
    mode: FanMode = Field("fan_in", description="keep the size of activations or of gradients")

    def fill(self, weight: Tensor, gain: float) -> None:
        """Independent uniform numbers."""
        nn.init.kaiming_uniform_(weight, mode=self.mode, nonlinearity="linear").mul_(gain)


class Orthogonal(GainInit):
    """gain times an orthogonal matrix; gain 1 if the activation is unknown."""

    source: ClassVar[str] = "Saxe et al. 2014"

    kind: Literal["orthogonal"] = "orthogonal"

    def fill(self, weight: Tensor, gain: float) -> None:
        """A random orthogonal matrix; for a convolution, over [out, in * height * width]."""
        nn.init.orthogonal_(weight, gain)
