"""Compiling the forward and backward pass of a training, where it is long enough to pay for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nnrecipe.core.device import Precision
from nnrecipe.core.errors import UserError

Compile = Literal["auto", "on", "off"]

LARGE_STEP, LONG_TRAINING = 1e10, 1e14
"""Operations of a step, and of a training, from which compiling is taken to pay on a CPU.

ResNet-20's step has 3e10 at batch 128; LeNet-5's, with 3e8, runs slower for being compiled. The
bounds are estimates on the side of not compiling, as is that for CUDA."""
LONG_ON_CUDA = 3e15
"""Of a training on CUDA, where launching small kernels is what is saved."""


@dataclass(frozen=True)
class Compiled:
    """A model whose pass through a full batch is compiled; any other batch goes the usual way.

    Another size would be compiled anew, which takes longer than the one odd batch of an epoch.
    """

    model: nn.Module
    fast: Callable[[Tensor], Tensor]
    batch_size: int

    def __call__(self, inputs: Tensor) -> Tensor:
        """inputs: [N, ...] -> [N, outputs]."""
        full = len(inputs) == self.batch_size
        outputs: Tensor = (self.fast if full else self.model)(inputs)
        return outputs


def pays(device: torch.device, precision: Precision, *, step: float, steps: int) -> bool:
    """Whether a training is so long that compiling it saves time; `step` is in operations.

    Operations are counted, not seconds, so that the same recipe does the same again.
    """
    if device.type == "cuda":
        return step * steps >= LONG_ON_CUDA
    if precision != "fp32":  # the compiled kernels of a CPU gain nothing there
        return False
    return step >= LARGE_STEP and step * steps >= LONG_TRAINING and has_compiler()


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch needs for a CPU."""
    return any(map(shutil.which, ("g++", "clang++", "cl" if sys.platform == "win32" else "c++")))


def compiled(model: nn.Module, *, device: torch.device, batch_size: int) -> Compiled:
    """The model with a compiled pass. Raises `UserError` where torch can't compile here."""
    if device.type == "cpu" and not has_compiler():
        raise UserError("training.compile: on needs a C++ compiler (g++), and none is found here")
    mode = "reduce-overhead" if device.type == "cuda" else None
    return Compiled(model, torch.compile(model, mode=mode, dynamic=False), batch_size)
