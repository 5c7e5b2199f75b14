"""The user's own examples as tensors: what an image and a label may be."""

from __future__ import annotations

import math
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


def as_label(value: Any, *, where: str) -> int:
    """One class number; a float counts if it is whole. Raises `UserError` with `where`."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if number < 0 or not number.is_integer():
        found = list(value.shape) if isinstance(value, Tensor | np.ndarray) else repr(value)
        raise UserError(f"{where}: {_LABEL_RULE}, got {found}")
    return int(number)


def as_labels(labels: Tensor, *, where: str) -> Tensor:
    """Class numbers as `[N]` int64; floats count if they are whole. Raises `UserError` likewise."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.ndim != 1:
        raise UserError(f"{where}: {_LABEL_RULE}, got a tensor {list(labels.shape)}")
    numbers = labels.detach().long()
    wrong = (numbers < 0) | (numbers != labels)
    if wrong.any():
        place = int(wrong.nonzero()[0])
        raise UserError(f"{where}[{place}]: {_LABEL_RULE}, got {labels[place].item()}")
    return numbers


_LABEL_RULE = "labels must be class numbers 0, 1, 2, ... (argmax of a one-hot vector)"


def _channels_first(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`[H, W, C]`, as image libraries give it, to `[C, H, W]`; all else as it is."""
    last = array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.shape[0] not in (1, 3, 4)
    return array.transpose(2, 0, 1) if last else array
