"""Augmentations that move the image: crop, flip, rotation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import Count
from nnrecipe.data.augmentation.affine import rotation, warp
from nnrecipe.data.augmentation.base import AugmentationSpec, integers, uniform


class RandomCrop(AugmentationSpec):
    """Shift by up to `padding` pixels each way: pad with black, cut out the original size."""

    source = "He et al. 2016, section 4.2; torchvision.transforms.RandomCrop"

    moves_pixels = True
    kind: Literal["random_crop"] = "random_crop"
    padding: Count = Field(4, description="black border added on each side before cutting, pixels")

    def check_inputs(self, inputs: InputShape) -> None:
        """Also refuses a padding that can push the whole image out of view."""
        super().check_inputs(inputs)
        if self.padding >= min(inputs[1:]):
            raise ValueError(
                f"a padding of {self.padding} can move a {inputs[1]}x{inputs[2]} image out of view"
            )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:  # noqa: ARG002
        """See `AugmentationSpec.apply`."""
        top = integers(images, 2 * self.padding + 1, generator)
        left = integers(images, 2 * self.padding + 1, generator)
        return crop(images, top, left, padding=self.padding)


class HorizontalFlip(AugmentationSpec):
    """Mirror left and right."""

    source = "Krizhevsky et al. 2012, section 4.1; torchvision.transforms.RandomHorizontalFlip"

    moves_pixels = True
    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.5, description="share of the images that are mirrored"
    )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:  # noqa: ARG002
        """See `AugmentationSpec.apply`."""
        return flip(images, uniform(images, 0, 1, generator) < self.probability)


class Rotation(AugmentationSpec):
    """Rotate about the centre, bilinearly; what comes into view is black."""

    source = "Simard et al. 2003, section 2; torchvision.transforms.RandomRotation"

    kind: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(strict=True, gt=0, le=180)] = Field(
        15.0, description="largest angle, either way, in degrees"
    )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:  # noqa: ARG002
        """See `AugmentationSpec.apply`."""
        return rotate(images, uniform(images, -self.degrees, self.degrees, generator))


def crop(images: Tensor, top: Tensor, left: Tensor, *, padding: int) -> Tensor:
    """Cut `[H, W]` out of each zero-padded image, at its own `top` and `left` (0 ... 2 padding)."""
    n, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    # Every row of every cut-out is a window into the flat padded batch: one gather of whole rows.
    windows = padded.flatten().unfold(0, width, 1)
    planes = torch.arange(n * channels, device=images.device).view(n, channels, 1)
    rows = top.view(n, 1, 1) + torch.arange(height, device=images.device)
    starts = (planes * padded.shape[2] + rows) * padded.shape[3] + left.view(n, 1, 1)
    return windows.index_select(0, starts.flatten()).view_as(images)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the `chosen: [N]` (bool) images."""
    # A gather of whole images out of both versions: much faster than `where` on a CPU.
    both = torch.cat([images, images.flip(3)])
    places = torch.arange(len(images), device=images.device)
    return both.index_select(0, places + len(images) * chosen)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image counter-clockwise by its own angle `degrees: [N]`."""
    return warp(images, rotation(degrees), mode="bilinear")
