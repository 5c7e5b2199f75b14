"""How good a model is on a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nnrecipe.core.device import Precision, autocast
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.world import ALONE, World, in_turn
from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable, TaskLosses, mass
from nnrecipe.training.mistakes import Mistakes
from nnrecipe.training.scores import Score, score_of


@dataclass(frozen=True)
class Evaluation:
    """The mean loss over a split's `examples`, and how right the outputs are.

    `losses` are those of several tasks by their names, before they are weighed.
    """

    loss: float
    examples: int
    score: Score
    losses: Mapping[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """The loss and the score's figures by name, and the loss of each of several tasks."""
        own = {f"{name}_loss": value for name, value in self.losses.items()}
        return {"loss": self.loss, **self.score.figures(), **own}

    @property
    def headline(self) -> tuple[str, float]:
        """The name and the value of the score's first figure, which is 1 where all is right."""
        return next(iter(self.score.figures().items()))


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: LossCallable,
    *,
    outputs: OutputSpec,
    precision: Precision = "fp32",
    mistakes: Mistakes | None = None,
    world: World = ALONE,
) -> Evaluation:
    """Evaluate in eval mode, and leave the model in the mode it was in.

    Of several processes each is given every so manieth of the split's batches. All get the same
    evaluation, that of one process: the outputs are put together and counted in the split's order.

    The loss is that of the whole split, whatever the batches: their means weigh by their examples,
    or by the class weights of these. `mistakes` is shown every batch, if it is given.
    """
    was_training = model.training
    model.eval()
    losses: list[Tensor] = []
    masses: list[Tensor] = []
    examples = 0
    score = score_of(outputs)
    for made, targets in _all_outputs(model, batches, precision=precision, world=world):
        with autocast(made.device, precision):
            losses.append(_parts(loss, made, targets))
        masses.append(_masses(loss, targets))
        examples += len(targets)
        score.add(made, targets)
        if mistakes is not None:
            mistakes.add(made, targets)
    model.train(was_training)
    if not examples:
        raise ValueError("there is nothing to evaluate: the split is empty")
    weights = torch.stack(masses).double()
    mean = (torch.stack(losses).double() * weights).sum(0) / weights.sum(0)
    own: dict[str, float] = {}
    if isinstance(loss, TaskLosses):
        own = dict(zip(loss.names, mean.tolist(), strict=True))
        mean = loss.weighting(mean)
    return Evaluation(loss=float(mean), examples=examples, score=score, losses=own)


def _parts(loss: LossCallable, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss, a scalar; of several tasks each one's own, [T]."""
    if isinstance(loss, TaskLosses):
        return loss.each(outputs, targets)
    return loss(outputs, targets)


def _masses(loss: LossCallable, targets: Tensor) -> Tensor:
    """By what the batch's means are divided, in the shape of `_parts`."""
    return loss.masses(targets) if isinstance(loss, TaskLosses) else mass(loss, targets)


def _all_outputs(
    model: nn.Module, batches: Iterable[Batch], *, precision: Precision, world: World
) -> Iterator[tuple[Tensor, Tensor]]:
    """The outputs and the targets of all processes' batches, in turn."""
    own = _outputs(model, batches, precision=precision)
    if world.is_alone:
        yield from own
        return
    home = next(model.parameters()).device
    parts = world.gather([(made.cpu(), targets.cpu()) for made, targets in own])
    yield from ((made.to(home), targets.to(home)) for made, targets in in_turn(parts))


def _outputs(
    model: nn.Module, batches: Iterable[Batch], *, precision: Precision
) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, targets in batches:
        with autocast(inputs.device, precision):
            yield model(inputs), targets
