"""What the curves of a training are read against: guessing, the start, the epoch that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnrecipe.core.report import Report
from nnrecipe.report.drawing import BAD, GOOD, INK, drawable
from nnrecipe.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FARTHEST_START = 3.0
"""A start so many times above all else would flatten the curves; it is left out."""


@dataclass(frozen=True)
class Landmarks:
    """NaN where it isn't known: the loss of guessing, the untrained model's, the best epoch."""

    chance: float = math.nan
    start: float = math.nan
    best: float = math.nan

    @classmethod
    def of(cls, report: Report) -> Landmarks:
        """Those that the stages' facts tell."""
        facts = {stage.stage: stage.facts for stage in report.stages}
        sanity, train = facts.get("sanity", {}), facts.get("train", {})
        found = (sanity.get("loss_at_chance"), train.get("start_loss"), train.get("best_epoch"))
        return cls(*drawable(found))

    def caption(self, losses: Sequence[float]) -> str:
        """What the marks of `paint_losses` mean."""
        parts = []
        if self._shows_chance(losses):
            parts.append(f"Dashed: the loss of guessing, {number(self.chance)}.")
        if self._shows_start(losses):
            parts.append("The hollow dot is the untrained network.")
        return "".join(f" {part}" for part in parts)

    def paint_losses(self, axes: Axes, losses: Sequence[float]) -> None:
        """Mark chance and start on a chart of these losses; above chance is worse than guessing."""
        if self._shows_start(losses):
            axes.plot(
                [0], [self.start], marker="o", color=INK, markerfacecolor="none", markersize=5
            )
        if self._shows_chance(losses):
            axes.axhline(self.chance, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            low, high = axes.get_ylim()
            axes.axhspan(self.chance, max(high, self.chance), color=BAD, alpha=0.08, linewidth=0)
            axes.set_ylim(low, high)
            height = axes.transAxes.inverted().transform(axes.transData.transform((0, self.chance)))
            place, side = (-3, "top") if height[1] > 0.5 else (3, "bottom")
            axes.annotate(
                "guessing", (1, self.chance), (-3, place), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=8, ha="right", va=side,
            )  # fmt: skip

    def paint_best(self, axes: Axes, epochs: Sequence[float]) -> None:
        """Mark the epoch that is kept, if others come after it."""
        if math.isnan(self.best) or self.best >= max(epochs):
            return
        axes.axvline(self.best, color=GOOD, linewidth=1.2)
        axes.annotate(
            "kept", (self.best, 0.5), (-3, 0), xycoords=("data", "axes fraction"), rotation=90,
            textcoords="offset points", fontsize=8, color=GOOD, ha="right", va="center",
        )  # fmt: skip

    def _shows_chance(self, losses: Sequence[float]) -> bool:
        """Not where the curves lie so far below or above that its line would flatten them."""
        known = [loss for loss in losses if not math.isnan(loss)]
        if math.isnan(self.chance) or self.chance <= 0 or not known:
            return False
        return max(known) >= self.chance / FARTHEST_START and min(known) <= 100 * self.chance

    def _shows_start(self, losses: Sequence[float]) -> bool:
        known = [loss for loss in losses if not math.isnan(loss)]
        return bool(known) and 0 < self.start <= FARTHEST_START * max(known)
