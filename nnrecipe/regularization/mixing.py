"""Mixing two examples into one: their inputs, and in the same proportion their losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor
from torch.distributions import Beta

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import LARGEST

SMALLEST_ALPHA = 0.01


def _within_torchs_reach(alpha: float) -> float:
    """Below it Beta's gamma variates underflow, and shares come out as one half and not 0 or 1."""
    if 0 < alpha < SMALLEST_ALPHA:
        expected = f"should be 0, or {SMALLEST_ALPHA:g} or more: less mixes next to nothing"
        raise PydanticCustomError("alpha", expected)
    return alpha


Alpha = Annotated[float, Field(strict=True, ge=0, le=LARGEST), AfterValidator(_within_torchs_reach)]
"""Shares are drawn from Beta(alpha, alpha): near 0 or 1 for small alpha, near 0.5 for large."""


@dataclass(frozen=True)
class Mixed:
    """A batch in which each example has `share` of itself, and the rest of its partner.

    `inputs`: [N, ...]; `targets` and `partners`: the examples' targets and their partners'.
    """

    inputs: Tensor
    targets: Tensor
    partners: Tensor
    share: float

    def loss(self, loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor) -> Tensor:
        """Of the losses against targets and partners, the mean weighted by the share: a scalar.

        For a loss that is linear in the targets, cross-entropy say, this is its value for targets
        mixed in the same proportion.
        """
        if self.share == 1:
            return loss(outputs, self.targets)
        own, others = loss(outputs, self.targets), loss(outputs, self.partners)
        return self.share * own + (1 - self.share) * others


@dataclass(frozen=True)
class Mixing:
    """mixup and cutmix, each with the `alpha` of its Beta(alpha, alpha); 0 is without.

    Every batch has one share, and partners by a random permutation. Of both, one is drawn for each
    batch with equal chance. An example that the permutation leaves in its place stays as it is.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything to mix."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> Mixed:
        """Mix a batch, inputs [N, ...] of floating point, with draws from the global generators.

        The permutation is drawn on the inputs' device and the few other numbers on the CPU, so that
        no number has to come back from the device. Raises `UserError` where cutmix finds no pixels.
        """
        self.check_inputs(tuple(inputs.shape[1:]))
        if not self:
            return Mixed(inputs, targets, targets, 1.0)
        order = torch.randperm(len(inputs), device=inputs.device)
        mixer, alpha = (mix, self.mixup) if self._draws_mixup() else (cut, self.cutmix)
        share = Beta(alpha, alpha, validate_args=False).sample().item()
        mixed, share = mixer(inputs, order, share=share)
        return Mixed(mixed, targets, targets[order], share)

    def check_inputs(self, shape: InputShape) -> None:
        """Raise `UserError` if cutmix is asked for and the inputs are no images (C, H, W)."""
        if self.cutmix and len(shape) != 3:
            found = f"{self.cutmix:g}: cuts boxes of pixels, and the inputs are {list(shape)}"
            raise UserError(f"regularization.cutmix: {found}: use mixup")

    def _draws_mixup(self) -> bool:
        if self.mixup and self.cutmix:
            return torch.rand(()).item() < 0.5
        return self.mixup > 0


def mix(inputs: Tensor, order: Tensor, *, share: float) -> tuple[Tensor, float]:
    """mixup: share * x + (1 - share) * x[order] of inputs x [N, ...], and the share."""
    return inputs[order].lerp_(inputs, share), share


def cut(inputs: Tensor, order: Tensor, *, share: float) -> tuple[Tensor, float]:
    """cutmix: a box of each image x [N, C, H, W] comes from x[order]; also returns what is left.

    The box has the image's sides times sqrt(1 - share) around a random pixel, and ends at the
    border. So what is left, as a share of the pixels, may be more than `share`.
    """
    height, width = inputs.shape[-2:]
    half = 0.5 * math.sqrt(1 - share)
    columns, rows = _side(width, int(half * width)), _side(height, int(half * height))
    mixed = inputs.clone()
    mixed[..., rows, columns] = inputs[..., rows, columns][order]
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - pixels / (height * width)


def _side(length: int, half: int) -> slice:
    """One side of a box: `half` pixels to both sides of a random one, of those there are."""
    middle = int(torch.randint(length, ()).item())
    return slice(max(middle - half, 0), min(middle + half, length))
