"""Images as tensors: what PIL reads, and resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from PIL.Image import Image

GRAY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F")  # more than 8 bits a channel; I covers I;16 and its relatives
RESIZE_IMAGES = 1024  # images at a time, to bound the memory for floats


def resize(images: Tensor, size: int) -> Tensor:
    """Resize uint8 `[N, C, H, W]` to `[N, C, size, size]`: bilinear, antialiased."""
    if images.shape[2:] == (size, size):
        return images
    resized = (
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        for part in torch.split(images, RESIZE_IMAGES)
    )
    return torch.cat([part.round_().clamp_(0, 255).byte() for part in resized])


def gray_or_rgb(image: Image, *, mode: str | None = None) -> Image:
    """A PIL image in `mode` (`L` or `RGB`), by default the one of the two that loses no colour.

    Raises `ValueError` for images of more than 8 bits a channel, which PIL would clip.
    """
    if image.mode.startswith(DEEP_MODES):
        raise ValueError(f"it has more than 8 bits a channel (mode {image.mode}): convert it first")
    mode = mode or ("L" if image.mode in GRAY_MODES else "RGB")
    return image if image.mode == mode else image.convert(mode)


def from_pil(image: Image) -> np.ndarray[Any, Any]:
    """A PIL image in mode `L` or `RGB` as uint8 `[C, H, W]`."""
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
