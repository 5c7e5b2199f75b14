"""Normalization of a layer's outputs, before the nonlinearity.

Each member has `normalizes`: whether the layer before it can do without a bias of its own, which
the norm's shift replaces.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import Count, PositiveFloat, Spec

Dims = Literal[0, 2]
"""Pixel dimensions behind the channels: 2 for `[N, C, H, W]`, 0 for `[N, F]`."""


class NoNorm(Spec):
    """No normalization."""

    kind: Literal["none"] = "none"
    normalizes: ClassVar[bool] = False

    def build(self, channels: int, *, dims: Dims) -> nn.Module:  # noqa: ARG002
        """The identity."""
        return nn.Identity()


class BatchNorm(Spec):
    """Each channel over the batch and the pixels (Ioffe and Szegedy 2015).

    In eval mode it uses the running mean and variance of training.
    """

    kind: Literal["batch"] = "batch"
    normalizes: ClassVar[bool] = True
    momentum: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.1, description="weight of the newest batch in the running statistics"
    )
    eps: PositiveFloat = Field(1e-5, description="added to the variance")

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.BatchNorm2d` over `[N, channels, H, W]` or `nn.BatchNorm1d` over `[N, channels]`."""
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d
        return norm(channels, eps=self.eps, momentum=self.momentum)


class LayerNorm(Spec):
    """Each example over all of its channels and pixels (Ba et al. 2016).

    Scale and shift are per channel, so that images may have any size: group norm with one group
    (Wu and He 2018, section 3).
    """

    kind: Literal["layer"] = "layer"
    normalizes: ClassVar[bool] = True
    eps: PositiveFloat = Field(1e-5, description="added to the variance")

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.GroupNorm(1, channels)` for images, `nn.LayerNorm(channels)` for vectors."""
        if dims == 2:
            return nn.GroupNorm(1, channels, eps=self.eps)
        return nn.LayerNorm(channels, eps=self.eps)


class GroupNorm(Spec):
    """Each example over groups of neighbouring channels and their pixels (Wu and He 2018)."""

    kind: Literal["group"] = "group"
    normalizes: ClassVar[bool] = True
    groups: Count = Field(8, description="number of groups; divides every layer's channels")
    eps: PositiveFloat = Field(1e-5, description="added to the variance")

    def build(self, channels: int, *, dims: Dims) -> nn.Module:  # noqa: ARG002
        """`nn.GroupNorm`. Raises `UserError` if the groups do not divide the channels."""
        if channels % self.groups:
            divisors = [n for n in range(1, channels + 1) if channels % n == 0]
            raise UserError(
                f"norm.groups: {self.groups} groups do not divide a layer of {channels} channels, "
                f"which takes {', '.join(map(str, divisors))}"
            )
        return nn.GroupNorm(self.groups, channels, eps=self.eps)


class InstanceNorm(Spec):
    """Each channel of each example over its pixels (Ulyanov et al. 2016), with scale and shift."""

    kind: Literal["instance"] = "instance"
    normalizes: ClassVar[bool] = True
    eps: PositiveFloat = Field(1e-5, description="added to the variance")

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.InstanceNorm2d` with parameters. Raises `UserError` where there are no pixels."""
        if dims == 0:
            raise UserError(
                "norm.kind: instance averages over pixels, and this architecture normalizes "
                "vectors: use batch, layer or group"
            )
        return nn.InstanceNorm2d(channels, eps=self.eps, affine=True)
