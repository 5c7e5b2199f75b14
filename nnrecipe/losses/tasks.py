"""The loss of several tasks: the weighted sum of each one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Head, OutputSpec, Task
from nnrecipe.losses.base import USUAL_LOSSES, LossSpec
from nnrecipe.losses.function import LossFunction, mass
from nnrecipe.losses.single import SingleLoss
from nnrecipe.losses.weighting import Balanced, Fixed, Learned, TaskWeights, Weighting


class TasksLoss(LossSpec):
    """The weighted sum of the losses of several tasks (data.tasks), each of its own outputs."""

    source: ClassVar[str] = "Caruana 1997"
    tasks: ClassVar[frozenset[Task]] = frozenset({"several"})

    kind: Literal["tasks"] = "tasks"
    losses: dict[str, SingleLoss] = Field(
        {}, description="a task's loss, by its name; the usual one where it isn't named"
    )
    weights: TaskWeights = Field(Fixed(), description="how much each task's loss counts")

    def check_outputs(self, outputs: OutputSpec) -> None:
        """Raise `UserError` for a loss that doesn't fit its task, or a task that isn't there."""
        super().check_outputs(outputs)
        known = [head.name for head in outputs.heads]
        named = {"losses": self.losses.keys(), "weights.factors": self.weights.named()}
        for key, names in named.items():
            for name in sorted(names - set(known)):
                found = f"no such task: data.tasks has {', '.join(known)}"
                raise UserError(f"loss.{key}.{name}: {found}")
        for head in outputs.heads:
            with _at(head.name):
                self._loss_of(head).check_outputs(head.outputs)

    def function(self, outputs: OutputSpec) -> TaskLosses:
        """(outputs [N, size], targets [N, K]) -> the weighted sum of the tasks' mean losses."""
        losses, chances = [], []
        for head in outputs.heads:
            with _at(head.name):
                spec = self._loss_of(head)
                losses.append(spec.build(head.outputs))
                chances.append(spec.chance_level(head.outputs))
        weighting = self.weights.build(outputs.heads)
        return TaskLosses(outputs.heads, losses, weighting, chances=chances)

    def unregularized(self) -> Self:
        """The same with each task's labels as they are."""
        plain = {name: loss.unregularized() for name, loss in self.losses.items()}
        return self.model_copy(update={"losses": plain})

    def chance_level(self, outputs: OutputSpec) -> float | None:  # noqa: ARG002
        """Not known before the weights are: see `TaskLosses.chance`."""
        return None

    def _loss_of(self, head: Head) -> LossSpec:
        """The task's own loss, or the usual one."""
        usual = USUAL_LOSSES[head.outputs.task]
        return self.losses.get(head.name) or _SINGLE.validate_python(usual)


_SINGLE: TypeAdapter[SingleLoss] = TypeAdapter(SingleLoss)


class TaskLosses(LossFunction):
    """Each task's loss of its own outputs, and their weighted sum.

    `chances` are the losses of knowing nothing, None where one isn't known.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        losses: Sequence[LossFunction],
        weighting: Weighting,
        *,
        chances: Sequence[float | None],
    ) -> None:
        self.heads, self.losses, self.chances = tuple(heads), tuple(losses), tuple(chances)
        self.weighting = weighting
        own = [loss.loss for loss in losses if isinstance(loss.loss, nn.Module)]
        super().__init__(nn.ModuleList([weighting, *own]))

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks'."""
        return tuple(head.name for head in self.heads)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[T] The tasks' losses, without weights."""
        pairs = zip(self.heads, self.losses, strict=True)
        return torch.stack(
            [loss(head.of_outputs(outputs), head.of_targets(targets)) for head, loss in pairs]
        )

    def masses(self, targets: Tensor) -> Tensor:
        """[T] By what each task's mean is divided; see `mass`."""
        pairs = zip(self.heads, self.losses, strict=True)
        return torch.stack([mass(loss, head.of_targets(targets)).double() for head, loss in pairs])

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum, a scalar."""
        losses = self.each(outputs, targets)
        if losses.device != self.weighting.factors.device:
            self.weighting.to(losses.device)
        total: Tensor = self.weighting(losses)
        return total

    @property
    def learns(self) -> bool:
        """Whether the weights change as training goes on."""
        return isinstance(self.weighting, Learned | Balanced)

    def train_with(self, optimizer: torch.optim.Optimizer, *, lr: float) -> None:
        """Let the optimizer train the weighting's own parameters too, without weight decay."""
        own = list(self.weighting.parameters())
        if own:
            optimizer.add_param_group({"params": own, "lr": lr, "weight_decay": 0.0})

    @property
    def chance(self) -> float | None:
        """The sum of the chance levels as they are weighed now; None if one isn't known."""
        known = [chance for chance in self.chances if chance is not None]
        if len(known) < len(self.chances):
            return None
        weights: list[float] = self.weighting.weights().tolist()
        return sum(weight * chance for weight, chance in zip(weights, known, strict=True))


@contextmanager
def _at(name: str) -> Iterator[None]:
    """Say of what is wrong with a loss that it is this task's."""
    try:
        yield
    except UserError as error:
        message = re.sub(r"^loss(?=[.:])", f"loss.losses.{name}", str(error))
        raise UserError(message) from error
