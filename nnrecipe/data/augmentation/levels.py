"""Changes of the gray levels, as torchvision and PIL define them; `white` is the largest level."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 256  # of an eight-bit image, which posterize and equalize are defined on


def posterize(images: Tensor, bits: Tensor, *, white: float) -> Tensor:
    """Keep the `bits: [N]` (0 ... 8, rounded) highest of each image's eight bits."""
    steps = (8 - bits.round()).exp2().view(-1, 1, 1, 1)
    levels = (images * ((LEVELS - 1) / white)).round_()
    return (levels / steps).floor_().mul_(steps).mul_(white / (LEVELS - 1))


def solarize(images: Tensor, thresholds: Tensor, *, white: float) -> Tensor:
    """Invert the pixels from each image's own threshold on, a share of white."""
    # A hair less than the threshold, so that rounding doesn't decide about a pixel that equals it.
    bright = images > white * (thresholds.view(-1, 1, 1, 1) - 1e-5)
    return torch.where(bright, white - images, images)


def autocontrast(images: Tensor, *, white: float) -> Tensor:
    """Stretch each channel of each image to black ... white; a channel of one level stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    spread = torch.where(high > low, high - low, white)
    return torch.where(high > low, images - low, images).mul_(white / spread).clamp_(0, white)


def equalize(images: Tensor, *, white: float) -> Tensor:
    """Flatten the histogram of each channel of each image.

    A level becomes the number of pixels below it, over the number for one step of brightness: the
    255th part of all pixels but those of the brightest level. Where that is 0, the channel stays.
    """
    levels = (images * ((LEVELS - 1) / white)).round_().clamp_(0, LEVELS - 1).long().flatten(2)
    counts = levels.new_zeros(*levels.shape[:2], LEVELS)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    of_brightest = counts.gather(2, levels.amax(2, keepdim=True))
    steps = (levels.shape[2] - of_brightest) // (LEVELS - 1)
    below = counts.cumsum(2) - counts
    table = ((below + steps // 2) // steps.clamp_min(1)).clamp_max_(LEVELS - 1)
    equalized = table.gather(2, levels).view_as(images) * (white / (LEVELS - 1))
    return torch.where((steps > 0).unsqueeze(3), equalized, images)
