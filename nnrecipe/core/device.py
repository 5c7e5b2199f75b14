"""Which device to compute on, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from nnrecipe.core.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]


def pick_device(name: DeviceName) -> torch.device:
    """`auto` takes CUDA where there is one. Raises `UserError` if `cuda` is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch finds none: use cpu or auto")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context that forward passes run in: nothing for fp32, torch's autocast for bf16."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
