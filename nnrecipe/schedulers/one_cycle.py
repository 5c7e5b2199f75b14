"""One cycle: up, then far down."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nnrecipe.core.spec import LARGEST, Fraction
from nnrecipe.schedulers.schedule import Moment, Schedule

Divisor = Annotated[float, Field(strict=True, ge=1, le=LARGEST)]


class OneCycle(Schedule):
    """Up to lr, then down to next to nothing, both as half cosines.

    It climbs by itself; a warm-up leads up to where that climb starts. The momentum stays as it is,
    as in torch with `cycle_momentum=False`.
    """

    source: ClassVar[str] = "Smith & Topin 2018; torch.optim.lr_scheduler.OneCycleLR"

    kind: Literal["one_cycle"] = "one_cycle"
    pct_start: Fraction = Field(0.3, description="share of the steps spent climbing")
    div_factor: Divisor = Field(25.0, description="the climb starts at lr / div_factor")
    final_div_factor: Divisor = Field(1e4, description="the end is the start divided by this")

    def at(self, now: Moment) -> float:
        """As `torch.optim.lr_scheduler.OneCycleLR` with `max_lr` = lr."""
        start = 1 / self.div_factor
        peak, last = self.pct_start * now.total_steps - 1, now.total_steps - 1
        if now.step < peak:
            return _half_cosine(start, 1.0, share=now.step / peak)
        share = min((now.step - peak) / (last - peak), 1.0)
        return _half_cosine(1.0, start / self.final_div_factor, share=share)


def _half_cosine(start: float, end: float, *, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
