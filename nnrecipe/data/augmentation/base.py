"""What every augmentation does: draw for each image of a batch, and act on all at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import Spec


class AugmentationSpec(Spec):
    """A random change that keeps an image's class."""

    needs_white: ClassVar[bool] = False
    """Whether it has to know how bright a pixel can be: not so for the user's own floats."""
    moves_pixels: ClassVar[bool] = False
    """Whether it only puts whole pixels elsewhere: that works on raw bytes as well as on floats."""

    def check_inputs(self, inputs: InputShape) -> None:
        """Raises `ValueError`, with the reason, if examples of this shape can't take it."""
        if len(inputs) != 3:
            raise ValueError(f"it works on images [C, H, W], and the examples are {list(inputs)}")

    @abstractmethod
    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:
        """Change every image by its own draw: `[N, C, H, W]` float in pixel units -> the same.

        Black is 0. `white` is the largest value a pixel can have, None where that isn't known.
        `generator` is on the images' device.
        """


def uniform(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """One draw from U(low, high) for every image: `[N]`, on the images' device."""
    return torch.empty(len(images), device=images.device).uniform_(low, high, generator=generator)


def integers(images: Tensor, high: int, generator: torch.Generator) -> Tensor:
    """One draw from 0 ... high - 1 for every image: `[N]` int64, on the images' device."""
    return torch.randint(high, (len(images),), generator=generator, device=images.device)
