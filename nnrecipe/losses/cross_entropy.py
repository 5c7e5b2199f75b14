"""Cross-entropy, with class weights and smoothed labels."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import Probability
from nnrecipe.losses.class_weights import ClassWeighted, of_classes
from nnrecipe.losses.function import LossFunction


class CrossEntropy(ClassWeighted):
    """The negative log-probability of the right class under the softmax of the logits.

    With class weights the mean is the weighted one, sum(w * loss) / sum(w), as in torch.
    """

    source: ClassVar[str] = (
        "torch.nn.CrossEntropyLoss; label smoothing: Szegedy et al. 2016, section 7"
    )

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Probability = Field(
        0.0, description="share of the target's probability that is spread over all classes"
    )

    def function(self, outputs: OutputSpec) -> LossFunction:
        """(logits [N, C], targets [N]) -> mean loss in nats."""
        weights = self.weights(outputs)
        loss = nn.CrossEntropyLoss(weights, label_smoothing=self.label_smoothing)
        return LossFunction(loss, class_weights=weights)

    def unregularized(self) -> Self:
        """The same loss with the labels as they are."""
        return self.model_copy(update={"label_smoothing": 0.0})

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss of a uniform guess, taken over the training split as one batch: ln C.

        Only class weights and smoothing together change it: torch weighs the smoothed part with
        all classes' weights but divides by those of the right ones, so that this part counts
        mean(w) / E[w_y] times.
        """
        weights = of_classes(self.class_weights, outputs)
        if weights is None or not self.label_smoothing:
            return math.log(outputs.size)
        counts = outputs.class_counts or (1,) * outputs.size
        of_targets = sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts)
        spread = sum(weights) / len(weights) / of_targets
        hard = 1 - self.label_smoothing
        return (hard + self.label_smoothing * spread) * math.log(outputs.size)
