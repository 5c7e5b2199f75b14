"""Random changes of the training images, drawn for every image, computed on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated

import torch
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import ByKind
from nnrecipe.data.augmentation.color import ColorJitter
from nnrecipe.data.augmentation.corruption import Cutout, Noise
from nnrecipe.data.augmentation.geometry import HorizontalFlip, RandomCrop, Rotation
from nnrecipe.data.augmentation.policies import RandAugment, TrivialAugment

Augment = Annotated[
    RandomCrop
    | HorizontalFlip
    | Rotation
    | ColorJitter
    | Noise
    | Cutout
    | RandAugment
    | TrivialAugment,
    ByKind(),
]


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a recipe, one after the other; falsy if there is none.

    `white` is the largest value a pixel can have in pixel units, None for the user's own floats.
    """

    specs: tuple[Augment, ...] = ()
    white: float | None = None

    def __bool__(self) -> bool:
        return bool(self.specs)

    def split(self) -> tuple[Augmentation, Augmentation]:
        """Those at the beginning that only move whole pixels, and the others."""
        count = sum(1 for _ in takewhile(lambda spec: spec.moves_pixels, self.specs))
        moves, others = self.specs[:count], self.specs[count:]
        return Augmentation(moves, self.white), Augmentation(others, self.white)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """`pixels: [N, C, H, W]` in pixel units -> the same; `generator` is on their device."""
        for spec in self.specs:
            pixels = spec.apply(pixels, generator, white=self.white)
        return pixels


def obstacles(
    specs: Sequence[Augment], inputs: InputShape, *, levels: bool = True
) -> list[tuple[str, str]]:
    """(YAML path, reason) of each augmentation that examples of this shape can't take.

    `levels` says whether they are uint8, so that it is known how bright white is.
    """
    found = []
    for number, spec in enumerate(specs):
        try:
            spec.check_inputs(inputs)
            if spec.needs_white and not levels:
                raise ValueError("it needs uint8 images: of floats it isn't known what is white")
        except ValueError as error:
            found.append((f"data.augment.{number}", f"{spec.kind}: {error}"))
    return found
