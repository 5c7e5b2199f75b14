"""Binary cross-entropy: each label is a yes or a no of its own."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import Probability
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.class_weights import (
    ClassWeights,
    as_tensor,
    check_length,
    label_rates,
    of_positives,
)
from nnrecipe.losses.function import ElementwiseLoss


class BceWithLogits(LossSpec):
    """The negative log-probability of each label's yes or no under the sigmoid of its logit.

    -(pos_weight * t * ln p + (1 - t) * ln(1 - p)), p = sigmoid(logit), averaged over examples and
    labels. Smoothing moves each target t in 0, 1 to t * (1 - s) + s / 2.
    """

    source: ClassVar[str] = "torch.nn.BCEWithLogitsLoss"
    tasks: ClassVar[frozenset[Task]] = frozenset({"multi_label"})

    kind: Literal["bce_with_logits"] = "bce_with_logits"
    pos_weight: ClassWeights = Field(
        None,
        description="weight of each label where it is there; balanced: n without it / n with it; "
        "null: 1",
    )
    label_smoothing: Probability = Field(
        0.0, description="share of the target that is spread over yes and no"
    )

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` for another task, or if the weights are not as many as the labels."""
        super().check_outputs(outputs)
        check_length(self.pos_weight, outputs, path="loss.pos_weight")

    def function(self, outputs: OutputSpec) -> ElementwiseLoss:
        """(logits [N, L], targets [N, L] of 0 and 1) -> mean loss in nats."""
        weights = as_tensor(of_positives(self.pos_weight, outputs))
        if not self.label_smoothing:
            return ElementwiseLoss(nn.BCEWithLogitsLoss(pos_weight=weights))
        return ElementwiseLoss(SmoothedBce(self.label_smoothing, pos_weight=weights))

    def unregularized(self) -> Self:
        """The same loss with the labels as they are."""
        return self.model_copy(update={"label_smoothing": 0.0})

    def chance_level(self, outputs: OutputSpec) -> float | None:
        """The loss of zero logits: ln 2 * mean over labels of (1 + t * (pos_weight - 1)).

        t is a label's mean target, so that None is returned for weights without the label's counts.
        """
        if self.pos_weight is None:
            return math.log(2)
        rates = label_rates(outputs)
        if rates is None:
            return None
        weights = of_positives(self.pos_weight, outputs)
        assert weights is not None
        smoothing = self.label_smoothing
        targets = [rate * (1 - smoothing) + smoothing / 2 for rate in rates]
        terms = [1 + t * (weight - 1) for t, weight in zip(targets, weights, strict=True)]
        return math.log(2) * sum(terms) / len(terms)


class SmoothedBce(nn.BCEWithLogitsLoss):
    """Torch's loss of targets that are moved towards one half."""

    def __init__(self, smoothing: float, *, pos_weight: Tensor | None) -> None:
        super().__init__(pos_weight=pos_weight)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits, targets: [N, L]."""
        return super().forward(logits, targets * (1 - self.smoothing) + self.smoothing / 2)
