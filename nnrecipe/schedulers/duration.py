"""Lengths of time, in optimizer steps or in epochs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from nnrecipe.core.spec import Count, expecting

Epochs = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})? epochs?$")]
"""`30 epochs` or `0.5 epochs`."""


def _not_zero(epochs: str) -> str:
    if not in_epochs(epochs):
        raise ValueError("takes no time")
    return epochs


Duration = Annotated[
    Count | Annotated[Epochs, AfterValidator(_not_zero)],
    expecting("a number of optimizer steps above 0, or '30 epochs'"),
]
"""Some optimizer steps, or epochs as text."""


def in_epochs(epochs: Epochs) -> float:
    """The number in `30 epochs`."""
    return float(epochs.split()[0])


def in_steps(duration: int | Epochs, *, steps_per_epoch: int) -> int:
    """The optimizer steps that `duration` means, rounded; at least 1 unless it is zero."""
    if isinstance(duration, int):
        return duration
    epochs = in_epochs(duration)
    return max(round(epochs * steps_per_epoch), 1) if epochs else 0
