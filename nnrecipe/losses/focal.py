"""The focal loss: what a network already knows well hardly counts."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import Fraction, NonNegativeFloat
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.class_weights import (
    ClassWeights,
    as_tensor,
    check_length,
    label_rates,
    of_classes,
)
from nnrecipe.losses.function import ElementwiseLoss, LossFunction


class Focal(LossSpec):
    """Cross-entropy with less weight on what is easy: -(1 - p)^gamma ln p.

    p is the probability of the right answer: of the class, under the softmax, or of each label's
    yes or no, under the sigmoid. With class weights the mean is the weighted one,
    sum(w * loss) / sum(w), as in `cross_entropy`, which this is for gamma 0.
    """

    source: ClassVar[str] = "Lin et al. 2017, section 3; torchvision.ops.sigmoid_focal_loss"
    tasks: ClassVar[frozenset[Task]] = frozenset({"single_label", "multi_label"})

    kind: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = Field(
        2.0, description="exponent on the probability of the wrong answers; 0: cross-entropy"
    )
    class_weights: ClassWeights = Field(
        None,
        description="single_label: one weight a class; balanced: n / (C * n_c); null: all alike",
    )
    alpha: Fraction | None = Field(
        None, description="multi_label: weight of a label that is there; 1 - alpha if not; null: 1"
    )

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` for another task, or for weights that the task can't use."""
        super().check_outputs(outputs)
        if outputs.task == "multi_label" and self.class_weights is not None:
            remedy = "use loss.alpha, or loss.kind: bce_with_logits with pos_weight"
            raise UserError(f"loss.class_weights: the targets are multi_label: {remedy}")
        if outputs.task == "single_label" and self.alpha is not None:
            remedy = "use loss.class_weights"
            raise UserError(f"loss.alpha: {self.alpha:g}: the targets are single_label: {remedy}")
        check_length(self.class_weights, outputs, path="loss.class_weights")

    def function(self, outputs: OutputSpec) -> LossFunction:
        """(logits [N, size], targets [N] or [N, L] of 0 and 1) -> mean loss in nats."""
        if outputs.task == "multi_label":
            return ElementwiseLoss(SigmoidFocalLoss(self.gamma, alpha=self.alpha))
        weights = as_tensor(of_classes(self.class_weights, outputs))
        loss = SoftmaxFocalLoss(self.gamma, weights=weights)
        return LossFunction(loss, class_weights=weights)

    def chance_level(self, outputs: OutputSpec) -> float | None:
        """The loss of equal logits: ((C - 1) / C)^gamma ln C.

        For labels C is 2, and one that a share t of the examples have counts
        alpha * t + (1 - alpha) * (1 - t): None if there is an alpha, and t isn't known.
        """
        if outputs.task == "single_label":
            return _of_equal_logits(outputs.size, self.gamma)
        if self.alpha is None:
            return _of_equal_logits(2, self.gamma)
        rates = label_rates(outputs)
        if rates is None:
            return None
        factors = [self.alpha * t + (1 - self.alpha) * (1 - t) for t in rates]
        return _of_equal_logits(2, self.gamma) * sum(factors) / len(factors)


class SoftmaxFocalLoss(nn.Module):
    """The form for one right class."""

    weights: Tensor | None

    def __init__(self, gamma: float, *, weights: Tensor | None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits: [N, C]; targets: [N] -> scalar."""
        right = targets[:, None]
        total = logits.logsumexp(1)
        wrong = logits.scatter(1, right, -math.inf).logsumexp(1)
        losses = _focal(logits.gather(1, right)[:, 0] - total, wrong - total, self.gamma)
        if self.weights is None:
            return losses.mean()
        weights = self.weights[targets]
        return (weights * losses).sum() / weights.sum()


class SigmoidFocalLoss(nn.Module):
    """The form for labels that are each there or not."""

    def __init__(self, gamma: float, *, alpha: float | None) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits, targets: [N, L] -> scalar."""
        towards = (2 * targets - 1) * logits
        losses = _focal(F.logsigmoid(towards), F.logsigmoid(-towards), self.gamma)
        if self.alpha is not None:
            losses = losses * (self.alpha * targets + (1 - self.alpha) * (1 - targets))
        return losses.mean()


def _focal(log_right: Tensor, log_wrong: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma ln p from ln p and ln(1 - p).

    From p, the power's gradient would be infinite where p rounds to 1 and gamma is below 1.
    """
    return -torch.exp(gamma * log_wrong) * log_right


def _of_equal_logits(classes: int, gamma: float) -> float:
    return float(((classes - 1) / classes) ** gamma * math.log(classes))
