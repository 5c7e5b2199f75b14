"""How much each class, or each label, counts in a loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import PositiveFloat, expecting
from nnrecipe.losses.base import LossSpec

ClassWeights = Annotated[
    Literal["balanced"] | tuple[PositiveFloat, ...] | None,
    expecting("null, balanced, or a list with a number above 0 for each class"),
]
"""One weight for each class or label, `balanced` for weights from the counts, None for 1."""


def check_length(weights: ClassWeights, outputs: OutputSpec, *, path: str) -> None:
    """Raise `UserError` if the weights are not as many as the outputs."""
    if isinstance(weights, tuple) and len(weights) != outputs.size:
        what = "labels" if outputs.task == "multi_label" else "classes"
        found = f"{len(weights)} weights for {outputs.size} {what}"
        raise UserError(f"{path}: {found}: give one for each, or balanced")


def of_classes(weights: ClassWeights, outputs: OutputSpec) -> tuple[float, ...] | None:
    """The weight of each class; balanced: n / (C * n_c), as in scikit-learn."""
    if weights != "balanced":
        return weights
    assert outputs.class_counts, "balanced class weights need the training split's counts"
    # a class without examples is the data stage's finding; here it must not divide by 0
    share = sum(outputs.class_counts) / outputs.size
    return tuple(share / max(count, 1) for count in outputs.class_counts)


def of_positives(weights: ClassWeights, outputs: OutputSpec) -> tuple[float, ...] | None:
    """The weight of each label where it is there; balanced: examples without it / with it.

    A label that all examples have, or none, counts as if one were otherwise.
    """
    if weights != "balanced":
        return weights
    assert outputs.class_counts, "balanced weights need the training split's counts"
    counts, examples = outputs.class_counts, outputs.examples
    return tuple(max(examples - count, 1) / max(count, 1) for count in counts)


def label_rates(outputs: OutputSpec) -> tuple[float, ...] | None:
    """The share of the training examples that have each label; None before they are read."""
    if not outputs.examples:
        return None
    return tuple(count / outputs.examples for count in outputs.class_counts)


def as_tensor(weights: tuple[float, ...] | None) -> Tensor | None:
    """The weights in the best precision; the loss lowers it to that of the outputs."""
    return None if weights is None else torch.tensor(weights, dtype=torch.float64)


class ClassWeighted(LossSpec):
    """A single-label loss whose mean may weigh each class: sum(w * loss) / sum(w), as in torch."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"single_label"})

    class_weights: ClassWeights = Field(
        None, description="one weight a class; balanced: n / (C * n_c); null: all alike"
    )

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` for another task, or if the weights are not as many as the classes."""
        super().check_outputs(outputs)
        check_length(self.class_weights, outputs, path="loss.class_weights")

    def weights(self, outputs: OutputSpec) -> Tensor | None:
        """[C] The weights of the classes; None for none."""
        return as_tensor(of_classes(self.class_weights, outputs))
