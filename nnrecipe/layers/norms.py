"""Normalization of a layer's outputs, before or after the nonlinearity.

Each member has `normalizes`, `position` and `cancels_bias`: whether the layer in front of the norm
can do without a bias of its own, which the norm's shift replaces.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.spec import Count, Flag, PositiveFloat, Spec

Dims = Literal[0, 2]
"""Pixel dimensions behind the channels: 2 for `[N, C, H, W]`, 0 for `[N, F]`."""

Position = Literal["before", "after"]

MOMENTUM = 0.1
MOST_GROUPS = 8


class NoNorm(Spec):
    """No normalization."""

    source: ClassVar[str] = "torch.nn.Identity"

    kind: Literal["none"] = "none"
    normalizes: ClassVar[bool] = False
    position: ClassVar[Position] = "before"
    cancels_bias: ClassVar[bool] = False

    def build(self, channels: int, *, dims: Dims) -> nn.Module:  # noqa: ARG002
        """The identity."""
        return nn.Identity()


class Normalization(Spec):
    """What all norms have in common: (x - mean) / sqrt(variance + eps) * scale + shift."""

    kind: str
    normalizes: ClassVar[bool] = True
    position: Position = Field("before", description="before or after the nonlinearity")
    eps: PositiveFloat = Field(1e-5, description="added to the variance")

    @property
    def cancels_bias(self) -> bool:
        """Whether the norm comes right after the layer, which then goes without a bias.

        The mean over a single channel, of batch and instance norm, takes a bias away. Layer and
        group norm leave its differences between channels; as in their papers, the shift stands in
        for it. A frozen batch norm has the layers of the checkpoint that it is from.
        """
        return self.position == "before"


class BatchNorm(Normalization):
    """Each channel over the batch and the pixels.

    In eval mode it uses the running mean and variance of training, so that a batch of one example
    gets what the example gets in any other batch. In training a batch of one is refused: there the
    statistics would be the example's own.

    Frozen, it is in eval mode in training too: an affine map with the statistics, scale and shift
    of a checkpoint. It has the same entries in the state dict, and takes any batch.
    """

    source: ClassVar[str] = "Ioffe and Szegedy 2015"

    kind: Literal["batch"] = "batch"
    momentum: Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        MOMENTUM,
        description="weight of the newest batch in the running statistics; null for the average of "
        "all batches",
    )
    frozen: Flag = Field(False, description="keep statistics, scale and shift as they are")

    @model_validator(mode="after")
    def _moves_or_not(self) -> Self:
        if self.frozen and self.momentum != MOMENTUM:
            message = f"got {self.momentum}, but frozen statistics don't move"
            raise conflict("norm.momentum", message, "leave out norm.momentum or norm.frozen")
        return self

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.BatchNorm2d` over `[N, channels, H, W]` or `nn.BatchNorm1d` over `[N, channels]`."""
        if self.frozen:
            return FrozenBatchNorm(channels, eps=self.eps)
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d
        return norm(channels, eps=self.eps, momentum=self.momentum)


class LayerNorm(Normalization):
    """Each example over all of its channels and pixels.

    Scale and shift are per channel, so that images may have any size: group norm with one group
    (Wu and He 2018, section 3).
    """

    source: ClassVar[str] = "Ba et al. 2016"

    kind: Literal["layer"] = "layer"

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.GroupNorm(1, channels)` for images, `nn.LayerNorm(channels)` for vectors.

        Raises `UserError` for vectors of a single number.
        """
        if dims == 2:
            return nn.GroupNorm(1, channels, eps=self.eps)
        _require_several(channels, what="norm.kind: layer")
        return nn.LayerNorm(channels, eps=self.eps)


class GroupNorm(Normalization):
    """Each example over groups of neighbouring channels and their pixels."""

    source: ClassVar[str] = "Wu and He 2018"

    kind: Literal["group"] = "group"
    groups: Count | Literal["auto"] = Field(
        "auto",
        description="number of groups, which divides every layer's channels; auto is each layer's "
        "largest up to 8 that leaves two channels in a group",
    )

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.GroupNorm`.

        Raises `UserError` if the groups don't divide the channels, or leave one number in a group.
        """
        groups = _most_groups(channels) if self.groups == "auto" else self.groups
        if channels % groups:
            divisors = [n for n in range(1, channels + 1) if channels % n == 0]
            raise UserError(
                f"norm.groups: {groups} groups do not divide a layer of {channels} channels, "
                f"which takes {', '.join(map(str, divisors))}"
            )
        if dims == 0:
            _require_several(channels // groups, what=f"norm.groups: {self.groups}")
        return nn.GroupNorm(groups, channels, eps=self.eps)


class InstanceNorm(Normalization):
    """Each channel of each example over its pixels, with scale and shift."""

    source: ClassVar[str] = "Ulyanov et al. 2016"

    kind: Literal["instance"] = "instance"

    def build(self, channels: int, *, dims: Dims) -> nn.Module:
        """`nn.InstanceNorm2d` with parameters. Raises `UserError` where there are no pixels."""
        if dims == 0:
            _require_several(1, what="norm.kind: instance")
        return nn.InstanceNorm2d(channels, eps=self.eps, affine=True)


def _require_several(numbers: int, *, what: str) -> None:
    """Raise `UserError` if statistics are of a single number, from which it leaves nothing."""
    if numbers < 2:
        raise UserError(
            f"{what}: a layer of this architecture would normalize single numbers, each to zero: "
            "use batch, another norm with fewer groups, or more channels"
        )


def _most_groups(channels: int) -> int:
    """The largest number of groups that leaves two channels in each, where there are two."""
    most = min(MOST_GROUPS, max(channels // 2, 1))
    return max(n for n in range(1, most + 1) if channels % n == 0)


class _HeldStatistics(nn.Module):
    """Makes the batch norm that it is mixed into stay in eval mode."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in eval mode."""
        return super().train(False)


@cache
def _held(norm: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Held{norm.__name__}", (_HeldStatistics, norm), {})  # the same at every call


def hold_statistics(norm: _BatchNorm) -> None:
    """Keep a batch norm, whatever library's, in eval mode in training too.

    Its scale and shift train on. It becomes of a class derived from its own, as a module does that
    `torch.nn.utils.parametrize` changes.
    """
    if not isinstance(norm, _HeldStatistics | FrozenBatchNorm):
        norm.__class__ = _held(type(norm))  # type: ignore[arg-type] # a class has a hash
        norm.eval()


class FrozenBatchNorm(_BatchNorm):
    """Batch norm that is always in eval mode and has nothing to train.

    Scale and shift are buffers, of which optimizers, penalties and checks of the gradient know
    nothing. The state dict has the entries of `nn.BatchNorm2d`.
    """

    def __init__(self, channels: int, *, eps: float) -> None:
        super().__init__(channels, eps=eps)
        for name in ("weight", "bias"):
            parameter = self._parameters.pop(name)
            assert parameter is not None
            self.register_buffer(name, parameter.detach())
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in eval mode."""
        return super().train(False)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """[N, channels] and [N, channels, H, W] are both right."""
