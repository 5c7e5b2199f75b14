"""What goes into a model and what comes out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

InputShape = tuple[int, ...]
"""One example without the batch: `(C, H, W)` for images, `(F,)` for tables."""


@dataclass(frozen=True)
class OutputSpec:
    """A classifier's output: one logit a class.

    `class_counts` are the examples of each class in the training split (length `num_classes`).
    """

    num_classes: int
    class_counts: tuple[int, ...] = ()

    @property
    def chance_loss(self) -> float:
        """The cross-entropy of the uniform guess, in nats: ln C."""
        return math.log(self.num_classes)
