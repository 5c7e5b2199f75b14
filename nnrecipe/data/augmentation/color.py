"""Augmentations that change the light: brightness, contrast, saturation, hue."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.data.augmentation.base import AugmentationSpec
from nnrecipe.data.augmentation.choice import Operation, apply_chosen

Strength = Annotated[float, Field(strict=True, ge=0, le=10)]


class ColorJitter(AugmentationSpec):
    """Brightness, contrast, saturation and hue, by draws of every image, as is their order.

    Factors are drawn from U(max(0, 1 - x), 1 + x), the hue's turn from U(-x, x), and each is
    defined as in torchvision.
    """

    source = "Howard 2013, section 2; torchvision.transforms.ColorJitter"

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Strength = Field(0.2, description="largest relative change of brightness")
    contrast: Strength = Field(0.2, description="largest relative change of contrast")
    saturation: Strength = Field(
        0.0, description="largest relative change of saturation (RGB only)"
    )
    hue: Annotated[float, Field(strict=True, ge=0, le=0.5)] = Field(
        0.0, description="largest shift of the hue, in turns of the colour circle (RGB only)"
    )

    def check_inputs(self, inputs: InputShape) -> None:
        """Also refuses saturation and hue on anything but RGB."""
        super().check_inputs(inputs)
        if inputs[0] != 3 and (self.saturation or self.hue):
            raise ValueError(
                f"saturation and hue need 3 channels (RGB), and the images have {inputs[0]}"
            )

    def apply(self, images: Tensor, generator: torch.Generator, *, white: float | None) -> Tensor:
        """See `AugmentationSpec.apply`."""
        operations = self._operations(white)
        if not operations:
            return images
        shape = (len(images), len(operations))
        strengths = images.new_empty(shape).uniform_(-1, 1, generator=generator)
        ranks = images.new_empty(shape).uniform_(generator=generator)
        return apply_chosen(images, ranks.argsort(1), strengths=strengths, operations=operations)

    def _operations(self, white: float | None) -> list[Operation]:
        """What is to be changed, at a strength from -1 to 1."""
        found = []
        for adjust, change in (
            (adjust_brightness, self.brightness),
            (adjust_contrast, self.contrast),
            (adjust_saturation, self.saturation),
        ):
            if change:
                low, high = max(0.0, 1 - change), 1 + change
                middle, reach = (high + low) / 2, (high - low) / 2
                found.append(Operation(partial(adjust, white=white), middle, reach, signed=True))
        return [*found, Operation(adjust_hue, span=self.hue, signed=True)] if self.hue else found


def adjust_brightness(images: Tensor, factors: Tensor, *, white: float | None) -> Tensor:
    """Blend each image with black, by its own factor: 0 is black, 1 the image."""
    return _clip(images * factors.view(-1, 1, 1, 1), white)


def adjust_contrast(images: Tensor, factors: Tensor, *, white: float | None) -> Tensor:
    """Blend each image with its mean gray, by its own factor: 0 is flat, 1 the image."""
    return _blend(images, _gray(images).mean((1, 2, 3), keepdim=True), factors, white)


def adjust_saturation(images: Tensor, factors: Tensor, *, white: float | None) -> Tensor:
    """Blend each RGB image with its gray version, by its own factor: 0 is gray, 1 the image."""
    return _blend(images, _gray(images), factors, white)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of each RGB image by its own `turns: [N]`, keeping value and chroma.

    Hue is counted in sixths of a turn from red (the hexagon of HSV); back to RGB by
    `V - chroma * clip(min(k, 4 - k), 0, 1)` with `k = (n + hue) mod 6` and n = 5, 3, 1.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = hue + 6 * turns.view(-1, 1, 1)
    k = torch.stack([hue + 5, hue + 3, hue + 1], dim=1) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) of RGB, the mean over the channels of anything else: `[N, 1, H, W]`."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factors: Tensor, white: float | None) -> Tensor:
    return _clip(other + (images - other) * factors.view(-1, 1, 1, 1), white)


def _clip(images: Tensor, white: float | None) -> Tensor:
    return images if white is None else images.clamp(0, white)
