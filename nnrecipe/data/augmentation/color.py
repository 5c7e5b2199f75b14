"""Augmentations that change the light: brightness, contrast, saturation, hue."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.shapes import InputShape
from nnrecipe.data.augmentation.base import AugmentationSpec, uniform

Strength = Annotated[float, Field(strict=True, ge=0, le=10)]


class ColorJitter(AugmentationSpec):
    """Brightness, contrast, saturation and hue, in this order, each drawn anew for every image.

    Factors are drawn from U(max(0, 1 - x), 1 + x), the hue's turn from U(-x, x), and each is
    defined as in torchvision.
    """

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
        for adjust, change in (
            (adjust_brightness, self.brightness),
            (adjust_contrast, self.contrast),
            (adjust_saturation, self.saturation),
        ):
            if change:
                factors = uniform(images, max(0.0, 1 - change), 1 + change, generator)
                images = adjust(images, factors, white=white)
        if self.hue:
            images = adjust_hue(images, uniform(images, -self.hue, self.hue, generator))
        return images


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
    k = (hue.unsqueeze(1) + images.new_tensor([5, 3, 1]).view(1, 3, 1, 1)) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) of RGB, the mean over the channels of anything else: `[N, 1, H, W]`."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = images.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _blend(images: Tensor, other: Tensor, factors: Tensor, white: float | None) -> Tensor:
    return _clip(other + (images - other) * factors.view(-1, 1, 1, 1), white)


def _clip(images: Tensor, white: float | None) -> Tensor:
    return images if white is None else images.clamp(0, white)
