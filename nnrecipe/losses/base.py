"""What every loss has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import Spec
from nnrecipe.losses.function import LossFunction

USUAL_LOSSES: Mapping[Task, str] = {
    "single_label": "cross_entropy",
    "multi_label": "bce_with_logits",
    "regression": "mse",
    "several": "tasks",
}
"""The kind of loss that a task usually takes."""


class LossSpec(Spec):
    """A loss of a model's outputs [N, size] against targets, as YAML declares it."""

    kind: str
    tasks: ClassVar[frozenset[Task]]
    """The kinds of targets that the loss is for."""
    expects_log_probabilities: ClassVar[bool] = False
    """Whether the outputs must be log-probabilities and not logits."""

    def build(self, outputs: OutputSpec) -> LossFunction:
        """(outputs [N, size], targets) -> mean loss over the batch, a scalar.

        Raises `UserError` if the loss doesn't fit the outputs.
        """
        self.check_outputs(outputs)
        return self.function(outputs)

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` if the loss doesn't fit the task; the counts need not be known."""
        if outputs.task not in self.tasks:
            fitting = f"{self.kind} is for {' or '.join(sorted(self.tasks))}"
            found = f"{fitting}, and the targets are {outputs.task}"
            raise UserError(f"loss.kind: {found}: use {USUAL_LOSSES[outputs.task]}")

    def function(self, outputs: OutputSpec) -> LossFunction:
        """What `build` makes once the outputs are known to fit."""
        raise NotImplementedError

    def unregularized(self) -> Self:
        """The same loss without what regularizes, smoothed labels say."""
        return self

    def chance_level(self, outputs: OutputSpec) -> float | None:
        """The loss before anything is learned, over the training split; None if it isn't known."""
        raise NotImplementedError
