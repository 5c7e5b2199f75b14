"""Counting floating-point operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


def flop_counter() -> FlopCounterMode:
    """A context that counts what is computed in it: two operations for a multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton, which takes its time

    return FlopCounterMode(display=False)
