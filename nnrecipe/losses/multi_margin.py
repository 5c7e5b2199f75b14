"""The hinge loss over all classes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import PositiveFloat, Spec
from nnrecipe.losses.function import LossFunction


class MultiMargin(Spec):
    """The multi-class SVM loss: sum over j != y of max(0, margin - s_y + s_j)^p, divided by C.

    Weston & Watkins 1999. The lecture sums without the division, which only scales the loss;
    this is `torch.nn.MultiMarginLoss`.
    """

    kind: Literal["multi_margin"] = "multi_margin"
    margin: PositiveFloat = Field(
        1.0, description="by how much the right class's logit should lead, in logits"
    )
    p: Literal[1, 2] = Field(1, description="exponent of each violation: 1 linear, 2 squared")

    def build(self, outputs: OutputSpec) -> LossFunction:  # noqa: ARG002 - the family's verb
        """(logits [N, C], targets [N]) -> mean loss."""
        return LossFunction(nn.MultiMarginLoss(p=self.p, margin=self.margin))

    def unregularized(self) -> MultiMargin:
        """Itself: there is nothing in it that regularizes."""
        return self

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss when all logits are equal: (C - 1) / C * margin^p."""
        return float((outputs.num_classes - 1) / outputs.num_classes * self.margin**self.p)
