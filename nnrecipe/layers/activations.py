"""The nonlinearities, and the gain with which initial weights make up for each."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from nnrecipe.core.spec import Fraction, PositiveFloat, Spec


class Sigmoid(Spec):
    """1 / (1 + exp(-x)): saturates at both ends, and its outputs are not centred on zero."""

    kind: Literal["sigmoid"] = "sigmoid"

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.Sigmoid()

    def gain(self) -> float:
        """1, as torch recommends."""
        return nn.init.calculate_gain("sigmoid")


class Tanh(Spec):
    """tanh(x): centred on zero, saturates at both ends."""

    kind: Literal["tanh"] = "tanh"

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.Tanh()

    def gain(self) -> float:
        """5/3, as torch recommends."""
        return nn.init.calculate_gain("tanh")


class Relu(Spec):
    """max(0, x): does not saturate for x > 0; a unit that is never positive is dead."""

    kind: Literal["relu"] = "relu"

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.ReLU()

    def gain(self) -> float:
        """sqrt(2), which makes up for the half that is cut off (He et al. 2015)."""
        return nn.init.calculate_gain("relu")


class LeakyRelu(Spec):
    """max(slope * x, x): keeps a gradient where ReLU has none (Maas et al. 2013)."""

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: Fraction = Field(0.1, description="slope for x < 0")

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.LeakyReLU(self.slope)

    def gain(self) -> float:
        """sqrt(2 / (1 + slope^2)) (He et al. 2015)."""
        return nn.init.calculate_gain("leaky_relu", self.slope)


class Elu(Spec):
    """x for x > 0, else alpha * (exp(x) - 1): outputs nearer to zero mean (Clevert et al. 2016)."""

    kind: Literal["elu"] = "elu"
    alpha: PositiveFloat = Field(1.0, description="minus the limit for x -> -infinity")

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.ELU(self.alpha)

    def gain(self) -> float:
        """1 / sqrt(E[elu(z)^2]), z ~ N(0, 1): He's rule (2015, section 2.2), by quadrature."""
        z = torch.linspace(-12, 12, 24_001, dtype=torch.float64, device="cpu")
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        second_moment = torch.trapezoid(F.elu(z, self.alpha).square() * density, z)
        return second_moment.rsqrt().item()


class Gelu(Spec):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016)."""

    kind: Literal["gelu"] = "gelu"

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.GELU()

    def gain(self) -> float:
        """ReLU's, which GELU is for large inputs.

        The gain that keeps N(0, 1) is higher, but unstable: what is larger grows from layer to
        layer. The critical one is within 1 % of ReLU's (Roberts et al. 2022, section 5.3.4).
        """
        return nn.init.calculate_gain("relu")


class Silu(Spec):
    """x * sigmoid(x), also called swish (Ramachandran et al. 2017)."""

    kind: Literal["silu"] = "silu"

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.SiLU()

    def gain(self) -> float:
        """ReLU's, for the reasons that GELU has."""
        return nn.init.calculate_gain("relu")
