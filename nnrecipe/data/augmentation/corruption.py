"""Augmentations that take information away: noise and cutout."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import Count
from nnrecipe.data.augmentation.base import AugmentationSpec, integers


class Noise(AugmentationSpec):
    """Add Gaussian noise, drawn for every pixel."""

    source = "Bishop 1995, Training with Noise is Equivalent to Tikhonov Regularization"

    kind: Literal["noise"] = "noise"
    std: Annotated[float, Field(strict=True, gt=0, le=255)] = Field(
        0.05, description="standard deviation in pixel units (0-1, or 0-255 with `pixels: raw`)"
    )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:  # noqa: ARG002
        """See `AugmentationSpec.apply`."""
        noise = torch.empty_like(images).normal_(0, self.std, generator=generator)
        return noise.add_(images)


class Cutout(AugmentationSpec):
    """Black out one square, centred on any pixel."""

    source = "DeVries and Taylor 2017, section 3"

    kind: Literal["cutout"] = "cutout"
    size: Count = Field(8, description="side of the square in pixels")

    def check_inputs(self, inputs: InputShape) -> None:
        """Also refuses a square that can cover the whole image."""
        super().check_inputs(inputs)
        if self.size >= min(inputs[1:]):
            raise ValueError(
                f"a square of {self.size} pixels can cover a {inputs[1]}x{inputs[2]} image"
            )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:  # noqa: ARG002
        """See `AugmentationSpec.apply`."""
        _, _, height, width = images.shape
        rows = integers(images, height, generator)
        columns = integers(images, width, generator)
        return cut_out(images, rows, columns, size=self.size)


def cut_out(images: Tensor, rows: Tensor, columns: Tensor, *, size: int) -> Tensor:
    """Black out the part inside each image of a square centred on its own row and column.

    The square covers `centre - size // 2` up to, not including, `centre - size // 2 + size`.
    """
    n, _, height, width = images.shape
    down = _covered(rows, height, size).view(n, 1, height, 1)
    across = _covered(columns, width, size).view(n, 1, 1, width)
    return images.masked_fill(down & across, 0)


def _covered(centres: Tensor, length: int, size: int) -> Tensor:
    offset = torch.arange(length, device=centres.device) - (centres.unsqueeze(1) - size // 2)
    return (offset >= 0) & (offset < size)
