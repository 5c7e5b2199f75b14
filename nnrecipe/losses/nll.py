"""The loss of a network that gives log-probabilities itself."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.class_weights import ClassWeights, as_tensor, check_length, of_classes
from nnrecipe.losses.function import LossFunction


class Nll(LossSpec):
    """The negative log-probability of the right class, for networks that end in log_softmax.

    With class weights the mean is the weighted one, sum(w * loss) / sum(w), as in torch. Of raw
    logits it would have no lower bound: those are for cross_entropy, which is log_softmax and this.
    """

    source: ClassVar[str] = "torch.nn.NLLLoss"
    tasks: ClassVar[frozenset[Task]] = frozenset({"single_label"})
    expects_log_probabilities: ClassVar[bool] = True

    kind: Literal["nll"] = "nll"
    class_weights: ClassWeights = Field(
        None, description="one weight a class; balanced: n / (C * n_c); null: all alike"
    )

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` for another task, or if the weights are not as many as the classes."""
        super().check_outputs(outputs)
        check_length(self.class_weights, outputs, path="loss.class_weights")

    def function(self, outputs: OutputSpec) -> LossFunction:
        """(log-probabilities [N, C], targets [N]) -> mean loss in nats."""
        weights = as_tensor(of_classes(self.class_weights, outputs))
        return LossFunction(nn.NLLLoss(weights), class_weights=weights)

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss of the uniform guess, ln C; the weighted mean of equal losses is the same."""
        return math.log(outputs.size)
