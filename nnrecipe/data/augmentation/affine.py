"""Affine moves of images: each image by its own amount, black where nothing comes into view.

Amounts are signed as in torchvision: right, down and counter-clockwise are positive.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def shear_x(images: Tensor, amounts: Tensor) -> Tensor:
    """Move each row left by `amount` pixels for every pixel that it lies below the top edge."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    to_edge = images.shape[2] / 2
    return warp(images, _matrix([[one, amounts, amounts * to_edge], [none, one, none]]))


def shear_y(images: Tensor, amounts: Tensor) -> Tensor:
    """Move each column up by `amount` pixels for every pixel that it lies off the left edge."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    to_edge = images.shape[3] / 2
    return warp(images, _matrix([[one, none, none], [amounts, one, amounts * to_edge]]))


def translate_x(images: Tensor, amounts: Tensor) -> Tensor:
    """Move each image right by its amount, cut off to whole pixels."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warp(images, _matrix([[one, none, -_whole(amounts)], [none, one, none]]))


def translate_y(images: Tensor, amounts: Tensor) -> Tensor:
    """Move each image down by its amount, cut off to whole pixels."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warp(images, _matrix([[one, none, none], [none, one, -_whole(amounts)]]))


def turn(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image about its centre by its own angle; pixels are the nearest."""
    return warp(images, rotation(degrees))


def rotation(degrees: Tensor) -> Tensor:
    """The `[N, 2, 3]` of a turn by each of the angles `[N]`, for `warp`."""
    angles = torch.deg2rad(degrees)
    cos, sin, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return _matrix([[cos, -sin, none], [sin, cos, none]])


def warp(
    images: Tensor, matrices: Tensor, *, mode: Literal["nearest", "bilinear"] = "nearest"
) -> Tensor:
    """Fill each pixel `(x, y)` of image n with what lies at `matrices[n] @ (x, y, 1)` in it.

    Coordinates are in pixels from the image's centre, to the right and down; `matrices: [N, 2, 3]`.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device).unsqueeze(1) - (height - 1) / 2
    by_x, by_y, offset = matrices.view(-1, 2, 3, 1, 1).unbind(2)
    # grid_sample counts from -1 to 1 along both sides.
    across, down = (by_x * x + by_y * y + offset).unbind(1)
    grid = torch.stack([across / (width / 2), down / (height / 2)], dim=-1)
    return F.grid_sample(images, grid, mode=mode, align_corners=False)


def _whole(amounts: Tensor) -> Tensor:
    """Without decimals; what rounding keeps from a whole number counts as one."""
    return (amounts * (1 + 1e-6)).trunc()


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
