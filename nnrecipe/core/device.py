"""Which device to compute on, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from nnrecipe.core.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
FORMATS: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: DeviceName) -> torch.device:
    """`auto` takes CUDA where there is one. Raises `UserError` if `cuda` is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch finds none: use cpu or auto")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def pick_precision(name: PrecisionName, device: torch.device, *, convolves: bool) -> Precision:
    """`auto` takes the fastest format that needs no care of its own.

    That is bf16 where the device multiplies it in hardware; on a CPU only for a network that
    `convolves`, as small matrix products lose more by the conversions than they gain.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if convolves and _cpu_multiplies_bf16() else "fp32"


def evaluation_batch(device: torch.device) -> int:
    """Examples in a batch of an evaluation, where no gradient needs memory.

    On a CPU what a larger batch of a convolutional network computes no longer fits in its caches.
    """
    return 1024 if device.type == "cuda" else 128


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context that forward passes run in: nothing for fp32, else torch's autocast."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=FORMATS[precision])


def _cpu_multiplies_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
