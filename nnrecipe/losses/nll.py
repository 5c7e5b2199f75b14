"""The loss of a network that gives log-probabilities itself."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import nn

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.losses.class_weights import ClassWeighted
from nnrecipe.losses.function import LossFunction


class Nll(ClassWeighted):
    """The negative log-probability of the right class, for networks that end in log_softmax.

    With class weights the mean is the weighted one, sum(w * loss) / sum(w), as in torch. Of raw
    logits it would have no lower bound: those are for cross_entropy, which is log_softmax and this.
    """

    source: ClassVar[str] = "torch.nn.NLLLoss"
    expects_log_probabilities: ClassVar[bool] = True

    kind: Literal["nll"] = "nll"

    def function(self, outputs: OutputSpec) -> LossFunction:
        """(log-probabilities [N, C], targets [N]) -> mean loss in nats."""
        weights = self.weights(outputs)
        return LossFunction(nn.NLLLoss(weights), class_weights=weights)

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss of the uniform guess, ln C; the weighted mean of equal losses is the same."""
        return math.log(outputs.size)
