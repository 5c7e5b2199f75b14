"""How long the warm-up takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import NonNegativeInt, Probability, expecting
from nnrecipe.schedulers.duration import Epochs, in_steps

Warmup = Annotated[
    NonNegativeInt | Probability | Epochs,
    expecting("a number of steps, a fraction of all steps below 1, or '3 epochs'"),
    Field(description="optimizer steps of warm-up, a fraction (< 1) of all steps, or '3 epochs'"),
]


def warmup_steps(warmup: Warmup, total_steps: int, *, steps_per_epoch: int) -> int:
    """The optimizer steps that `warmup` means. Raises `UserError` unless some are left after it."""
    if isinstance(warmup, float):
        steps = int(warmup * total_steps)
    else:
        steps = in_steps(warmup, steps_per_epoch=steps_per_epoch)
    if steps >= total_steps:
        found = f"{warmup!r} is {steps} steps, and training has only {total_steps}"
        raise UserError(f"scheduler.warmup: {found}: shorten it, or raise training.epochs")
    return steps
