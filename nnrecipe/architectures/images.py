"""What convolutional networks ask of their inputs."""

from __future__ import annotations

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape


def require_image(inputs: InputShape, *, kind: str) -> tuple[int, int, int]:
    """`(C, H, W)` of the inputs. Raises `UserError` if they are not images."""
    if len(inputs) != 3:
        shape = "x".join(map(str, inputs))
        raise UserError(
            f"architecture.kind: {kind} needs images of shape CxHxW, an example of the data is "
            f"{shape}: use mlp"
        )
    channels, height, width = inputs
    return channels, height, width


def require_pixels(inputs: InputShape, *, kind: str, least: int, why: str) -> None:
    """Raise `UserError` if an image's height or width is below `least` pixels; `why` says so."""
    _, height, width = require_image(inputs, kind=kind)
    if min(height, width) < least:
        raise UserError(
            f"architecture.kind: {kind}: {why} need at least {least}x{least} pixels, the data has "
            f"{height}x{width}: set data.image_size: 32, or use mlp"
        )
