"""The user's own examples as tensors: what an image or a row may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.data.images import from_pil, gray_or_rgb


def as_input(value: Any, *, where: str) -> Tensor:
    """One image or row as a tensor: uint8 if it was, else float32.

    Takes tensors (`[C, H, W]`, `[H, W]`, `[F]`), arrays (images also as `[H, W, C]`), PIL images
    and sequences of numbers. Raises `UserError` that begins with `where`.
    """
    from PIL.Image import Image

    try:
        if isinstance(value, Image):
            return torch.from_numpy(from_pil(gray_or_rgb(value)))
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(_channels_first(value), order="C"))
        return uint8_or_float(torch.as_tensor(value))
    except (TypeError, ValueError, RuntimeError) as error:
        expected = "expected a tensor, an array, a PIL image or a row of numbers"
        raise UserError(f"{where}: {expected}, got {type(value).__name__}: {error}") from error


def uint8_or_float(values: Tensor) -> Tensor:
    """Real numbers as uint8 if they are, else float32. Raises `TypeError` for complex ones."""
    if values.is_complex():
        raise TypeError("complex numbers")
    return values.detach() if values.dtype == torch.uint8 else values.detach().float()


def with_channels(inputs: Tensor) -> Tensor:
    """Gray images `[N, H, W]` become `[N, 1, H, W]`, and single numbers `[N]` rows `[N, 1]`."""
    return inputs.unsqueeze(1) if inputs.ndim in (1, 3) else inputs


def describe(example: Tensor) -> str:
    """`uint8 [3, 32, 32]`."""
    return f"{example.dtype} {list(example.shape)}".removeprefix("torch.")


def _channels_first(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`[H, W, C]`, as image libraries give it, to `[C, H, W]`; all else as it is."""
    last = array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.shape[0] not in (1, 3, 4)
    return array.transpose(2, 0, 1) if last else array
