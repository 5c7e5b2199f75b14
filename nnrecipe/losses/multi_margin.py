"""The hinge loss over all classes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import PositiveFloat
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.function import LossFunction


class MultiMargin(LossSpec):
    """The multi-class SVM loss: sum over j != y of max(0, margin - s_y + s_j)^p, divided by C.

    The lecture sums without the division, which only scales the loss.
    """

    source: ClassVar[str] = "torch.nn.MultiMarginLoss; Weston and Watkins 1999"
    tasks: ClassVar[frozenset[Task]] = frozenset({"single_label"})

    kind: Literal["multi_margin"] = "multi_margin"
    margin: PositiveFloat = Field(
        1.0, description="by how much the right class's logit should lead, in logits"
    )
    p: Literal[1, 2] = Field(1, description="exponent of each violation: 1 linear, 2 squared")

    def function(self, outputs: OutputSpec) -> LossFunction:  # noqa: ARG002 - the family's verb
        """(logits [N, C], targets [N]) -> mean loss."""
        return LossFunction(nn.MultiMarginLoss(p=self.p, margin=self.margin))

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss when all logits are equal: (C - 1) / C * margin^p."""
        return float((outputs.size - 1) / outputs.size * self.margin**self.p)
