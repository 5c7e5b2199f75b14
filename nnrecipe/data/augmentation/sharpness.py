"""Sharpening and blurring."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def adjust_sharpness(images: Tensor, factors: Tensor, *, white: float) -> Tensor:
    """Blend each image with its smooth version, by its own factor: 0 is smooth, 1 the image.

    Smooth is a mean over 3x3 pixels in which the middle counts five times, as in PIL; the outermost
    pixels stay as they are.
    """
    if min(images.shape[2:]) < 3:
        return images.clone()
    inner = images[:, :, 1:-1, 1:-1]
    smooth = (9 * F.avg_pool2d(images, 3, stride=1) + 4 * inner) / 13
    changed = images.clone()
    changed[:, :, 1:-1, 1:-1] = smooth + (inner - smooth) * factors.view(-1, 1, 1, 1)
    return changed.clamp_(0, white)
