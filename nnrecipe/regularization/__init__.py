"""Regularization: penalties on the weights, dropout, early stopping."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nnrecipe.core.spec import Count, NonNegativeFloat, Probability, Spec
from nnrecipe.regularization.penalty import Penalty, penalized

__all__ = ["EarlyStopping", "Penalty", "Regularization", "penalized"]


class EarlyStopping(Spec):
    """Stop when the validation figure has not improved for a while."""

    patience: Count = Field(10, description="epochs without improvement before stopping")
    min_delta: NonNegativeFloat = Field(
        0.0, description="an improvement is a change by more than this, in the monitor's unit"
    )
    monitor: Literal["val_loss", "val_accuracy"] = Field(
        "val_loss", description="the figure to watch: the loss in nats, or the accuracy in 0 to 1"
    )


class Regularization(Spec):
    """What holds a network back from learning its training set by heart.

    The penalties follow the lecture: J = mean loss + l2 * sum(W^2) + l1 * sum(|W|), over weights
    only. The `weight_decay` of SGD with a value of 2 * l2 is the same as `l2`.
    """

    l1: NonNegativeFloat = Field(0.0, description="factor on the sum of |W|, added to the loss")
    l2: NonNegativeFloat = Field(0.0, description="factor on the sum of W^2, added to the loss")
    dropout: Probability | None = Field(
        None, description="probability of dropping a unit; null for the architecture's own"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="when to stop before the last epoch; null for never"
    )

    def penalty(self) -> Penalty:
        """The penalty term of the objective."""
        return Penalty(l1=self.l1, l2=self.l2)
