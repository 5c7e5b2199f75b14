"""What it takes to train one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from nnrecipe.core.device import Precision
from nnrecipe.losses import LossCallable
from nnrecipe.regularization import Penalty

Schedule = Callable[[int], float]
"""Optimizer step, from 0 -> factor on the learning rate."""


def constant(_step: int) -> float:
    """The schedule that leaves the learning rate alone."""
    return 1.0


@dataclass(frozen=True)
class TrainSetup:
    """A model and everything that changes it; `train_steps` does the changing."""

    model: nn.Module
    loss: LossCallable
    optimizer: torch.optim.Optimizer
    penalty: Penalty
    device: torch.device
    precision: Precision = "fp32"
    schedule: Schedule = constant
    clip_norm: float | None = None
    monitor_every: int | None = None
