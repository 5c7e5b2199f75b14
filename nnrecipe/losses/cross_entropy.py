"""Cross-entropy, with class weights and smoothed labels."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError, ValidationError
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import PositiveFloat, Probability, Spec
from nnrecipe.losses.function import LossFunction


class CrossEntropy(Spec):
    """The negative log-probability of the right class under the softmax of the logits.

    Label smoothing: Szegedy et al. 2016, section 7. With class weights the mean is the weighted
    one, sum(w * loss) / sum(w), as in `torch.nn.CrossEntropyLoss`.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Probability = Field(
        0.0, description="share of the target's probability that is spread over all classes"
    )
    class_weights: Literal["balanced"] | tuple[PositiveFloat, ...] | None = Field(
        None, description="one weight a class; balanced: n / (C * n_c); null: all alike"
    )

    @field_validator("class_weights", mode="wrap")
    @classmethod
    def _one_message(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            expected = "should be null, balanced, or a list with a number above 0 for each class"
            raise PydanticCustomError("class_weights", expected) from error

    def build(self, outputs: OutputSpec) -> LossFunction:
        """(logits [N, C], targets [N]) -> mean loss in nats.

        Raises `UserError` if the weights are not as many as the classes.
        """
        weights = self._weights(outputs)
        tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        return LossFunction(nn.CrossEntropyLoss(tensor, label_smoothing=self.label_smoothing))

    def unregularized(self) -> CrossEntropy:
        """The same loss with the labels as they are."""
        return self.model_copy(update={"label_smoothing": 0.0})

    def chance_level(self, outputs: OutputSpec) -> float:
        """The loss of a uniform guess, taken over the training split as one batch: ln C.

        Only class weights and smoothing together change it: torch weighs the smoothed part with
        all classes' weights but divides by those of the right ones, so that this part counts
        mean(w) / E[w_y] times.
        """
        weights = self._weights(outputs)
        if weights is None or not self.label_smoothing:
            return math.log(outputs.num_classes)
        counts = outputs.class_counts or (1,) * outputs.num_classes
        of_targets = sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts)
        spread = sum(weights) / len(weights) / of_targets
        hard = 1 - self.label_smoothing
        return (hard + self.label_smoothing * spread) * math.log(outputs.num_classes)

    def _weights(self, outputs: OutputSpec) -> tuple[float, ...] | None:
        if self.class_weights == "balanced":
            assert outputs.class_counts, "balanced class weights need the training split's counts"
            # a class without examples is the data stage's finding; here it must not divide by 0
            share = sum(outputs.class_counts) / outputs.num_classes
            return tuple(share / max(count, 1) for count in outputs.class_counts)
        if self.class_weights is not None and len(self.class_weights) != outputs.num_classes:
            found = f"{len(self.class_weights)} weights for {outputs.num_classes} classes"
            raise UserError(f"loss.class_weights: {found}: give one for each class, or balanced")
        return self.class_weights
