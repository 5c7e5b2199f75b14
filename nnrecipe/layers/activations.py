"""The nonlinearities, and the gain with which initial weights make up for each.

Each member has `pieces`: how many outputs of the layer before it make one of its own. It is 1 for
all that work element by element.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.spec import Count, Fraction, PositiveFloat, Spec


class Sigmoid(Spec):
    """1 / (1 + exp(-x)): saturates at both ends, and its outputs are not centred on zero."""

    source: ClassVar[str] = "lecture: activation functions"

    kind: Literal["sigmoid"] = "sigmoid"
    pieces: ClassVar[int] = 1

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.Sigmoid()

    def gain(self) -> float:
        """1, as torch recommends."""
        return nn.init.calculate_gain("sigmoid")


class Tanh(Spec):
    """tanh(x): centred on zero, saturates at both ends."""

    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.4"

    kind: Literal["tanh"] = "tanh"
    pieces: ClassVar[int] = 1

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.Tanh()

    def gain(self) -> float:
        """5/3, as torch recommends."""
        return nn.init.calculate_gain("tanh")


class Relu(Spec):
    """max(0, x): does not saturate for x > 0; a unit that is never positive is dead."""

    source: ClassVar[str] = "Nair and Hinton 2010"

    kind: Literal["relu"] = "relu"
    pieces: ClassVar[int] = 1

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.ReLU()

    def gain(self) -> float:
        """sqrt(2), which makes up for the half that is cut off (He et al. 2015)."""
        return nn.init.calculate_gain("relu")


class LeakyRelu(Spec):
    """max(slope * x, x): keeps a gradient where ReLU has none."""

    source: ClassVar[str] = "Maas et al. 2013"

    kind: Literal["leaky_relu"] = "leaky_relu"
    pieces: ClassVar[int] = 1
    slope: Fraction = Field(0.1, description="slope for x < 0")

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.LeakyReLU(self.slope)

    def gain(self) -> float:
        """sqrt(2 / (1 + slope^2)) (He et al. 2015)."""
        return nn.init.calculate_gain("leaky_relu", self.slope)


class Maxout(Spec):
    """The largest of `pieces` linear functions, each with weights of its own.

    The layer before it has `pieces` outputs for each channel of the result.
    """

    source: ClassVar[str] = "Goodfellow et al. 2013"

    kind: Literal["maxout"] = "maxout"
    pieces: Annotated[Count, Field(ge=2, le=64)] = Field(
        2, description="linear functions to take the largest of"
    )

    def build(self, dim: int = 1) -> nn.Module:
        """The maximum over neighbouring channels, which are in dimension `dim`."""
        return MaxPieces(self.pieces, dim)

    def gain(self) -> float:
        """1 / sqrt(E[max(z_1, ..., z_pieces)^2]), z_i ~ N(0, 1) independent: He's rule."""
        z, density = _normal()
        others_below = torch.special.ndtr(z) ** (self.pieces - 1)
        second_moment = torch.trapezoid(z.square() * self.pieces * density * others_below, z)
        return second_moment.rsqrt().item()


class MaxPieces(nn.Module):
    """[N, pieces * C, ...] -> [N, C, ...], where channels are in dimension `dim`."""

    def __init__(self, pieces: int, dim: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Channel c of the result is the largest of x's channels from c * pieces on."""
        within = self.dim + 1 if self.dim >= 0 else self.dim
        pieces: Tensor = x.unflatten(self.dim, (-1, self.pieces))
        return pieces.max(within).values

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"pieces={self.pieces}, dim={self.dim}"


class Elu(Spec):
    """x for x > 0, else alpha * (exp(x) - 1): outputs nearer to zero mean."""

    source: ClassVar[str] = "Clevert et al. 2016"

    kind: Literal["elu"] = "elu"
    pieces: ClassVar[int] = 1
    alpha: PositiveFloat = Field(1.0, description="minus the limit for x -> -infinity")

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.ELU(self.alpha)

    def gain(self) -> float:
        """1 / sqrt(E[elu(z)^2]), z ~ N(0, 1): He's rule (2015, section 2.2), by quadrature."""
        z, density = _normal()
        return torch.trapezoid(F.elu(z, self.alpha).square() * density, z).rsqrt().item()


class Gelu(Spec):
    """x * Phi(x), Phi the normal distribution function."""

    source: ClassVar[str] = "Hendrycks and Gimpel 2016"

    kind: Literal["gelu"] = "gelu"
    pieces: ClassVar[int] = 1

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
    """x * sigmoid(x), also called swish."""

    source: ClassVar[str] = "Ramachandran et al. 2017"

    kind: Literal["silu"] = "silu"
    pieces: ClassVar[int] = 1

    def build(self) -> nn.Module:
        """A module that works element by element."""
        return nn.SiLU()

    def gain(self) -> float:
        """ReLU's, for the reasons that GELU has."""
        return nn.init.calculate_gain("relu")


def _normal() -> tuple[Tensor, Tensor]:
    """Points and the density of N(0, 1) at each, for integrals by the trapezoid rule."""
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64, device="cpu")
    return z, torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
