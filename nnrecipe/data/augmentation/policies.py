"""Augmentations that draw their operations from a fixed list, for every image anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import Count
from nnrecipe.data.augmentation.base import AugmentationSpec, integers
from nnrecipe.data.augmentation.choice import Operation, apply_chosen
from nnrecipe.data.augmentation.operations import Ranges

STRONGEST = 30
"""Strengths are counted 0 ... 30: the 31 bins of the papers and of torchvision."""


class RandAugment(AugmentationSpec):
    """Several operations drawn for every image, all with the same strength.

    Of 14: nothing, shear, translation (both ways), rotation, brightness, colour, contrast,
    sharpness, posterize, solarize, autocontrast and equalize. They are torchvision's, with its
    ranges: black comes into view, pixels are the nearest, directions are drawn.
    """

    source = "Cubuk et al. 2020, section 3; torchvision.transforms.RandAugment"
    needs_white = True

    kind: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(strict=True, ge=1, le=16)] = Field(
        2, description="operations for each image, one after the other"
    )
    magnitude: Annotated[int, Field(strict=True, ge=0, le=STRONGEST)] = Field(
        9, description="strength of the operations, from 0 to 30"
    )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:
        """See `AugmentationSpec.apply`."""
        assert white is not None, "float images are refused before"
        height, width = images.shape[2:]
        ranges = Ranges(0.3, width * 150 / 331, height * 150 / 331, degrees=30, blend=0.9, bits=4)
        strengths = images.new_full((len(images), self.num_ops), self.magnitude / STRONGEST)
        return _apply_drawn(images, strengths, generator, ranges.operations(white=white))


class TrivialAugment(AugmentationSpec):
    """One operation drawn for every image, with a strength that is drawn too.

    The operations are RandAugment's, with the wider ranges of the paper's "wide" space.
    """

    source = "Mueller and Hutter 2021, section 3; torchvision.transforms.TrivialAugmentWide"
    needs_white = True

    kind: Literal["trivial_augment"] = "trivial_augment"
    translation: Count = Field(32, description="largest translation, either way, in pixels")

    def check_inputs(self, inputs: InputShape) -> None:
        """Also refuses translations half of which move the whole image out of view."""
        super().check_inputs(inputs)
        if self.translation >= 2 * min(inputs[1:]):
            size = f"{inputs[1]}x{inputs[2]}"
            raise ValueError(
                f"half of its translations, of up to {self.translation} pixels, "
                f"move a {size} image out of view: set its translation"
            )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:
        """See `AugmentationSpec.apply`."""
        assert white is not None, "float images are refused before"
        reach = self.translation
        ranges = Ranges(0.99, reach, reach, degrees=135, blend=0.99, bits=6)
        strengths = integers(images, STRONGEST + 1, generator).unsqueeze(1) / STRONGEST
        return _apply_drawn(images, strengths, generator, ranges.operations(white=white))


def _apply_drawn(
    images: Tensor,
    strengths: Tensor,
    generator: torch.Generator,
    operations: Sequence[Operation],
) -> Tensor:
    """Draw an operation and a direction for each of the `strengths: [N, R]`, and apply them."""
    shape, device = strengths.shape, strengths.device
    choices = torch.randint(len(operations), shape, generator=generator, device=device)
    signs = 2 * torch.randint(2, shape, generator=generator, device=device) - 1
    return apply_chosen(images, choices, strengths=strengths * signs, operations=operations)
