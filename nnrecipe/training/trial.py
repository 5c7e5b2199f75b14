"""A short training under given conditions, and how far it came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.batch import Batch
from nnrecipe.training.averaging import recompute_statistics
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.scores import TaskScores
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import train_steps

LOST = 1.5
LOOK_EVERY = 10
"""Steps between two looks at whether the loss is still finite."""


@dataclass(frozen=True)
class Conditions:
    """What is trained, on which batches, in what context, on inputs that `prepare` has changed."""

    setup: TrainSetup
    batches: Sequence[Batch]
    context: Callable[[], AbstractContextManager[object]] = nullcontext
    prepare: Callable[[Tensor], Tensor] | None = None

    def seen(self, batch: Batch) -> Batch:
        """A batch as it is seen under these conditions."""
        if self.prepare is None:
            return batch
        return batch._replace(inputs=self.prepare(batch.inputs))

    def with_setup(self, **changes: object) -> Conditions:
        """The same with other fields of the setup."""
        return replace(self, setup=replace(self.setup, **changes))  # type: ignore[arg-type]


def try_out(conditions: Conditions, held: Batch, *, outputs: OutputSpec) -> float:
    """Train on the batches in turn, and return the skill on the examples `held`, 0 to 1.

    0 is no better than guessing, 1 is all right. Where the loss ceased to be finite or ended `LOST`
    times as high as it began, it is 0 whatever the accuracy. The running statistics of batch norms
    are taken anew before that, as they lag behind in a short training.
    """
    setup = conditions.setup
    with conditions.context():
        losses: list[Tensor] = []
        for record in train_steps(setup, map(conditions.seen, conditions.batches)):
            losses.append(record.loss)
            if record.step % LOOK_EVERY == 0 and not math.isfinite(record.loss.item()):
                return 0.0
        if not bool(torch.isfinite(torch.stack(losses)).all()):
            return 0.0
        recent = [conditions.seen(batch) for batch in conditions.batches[-LOOK_EVERY:]]
        recompute_statistics(setup.model, recent, precision=setup.precision)
        ended = evaluate(
            setup.model,
            [conditions.seen(held)],
            setup.loss,
            outputs=outputs,
            precision=setup.precision,
        )
    lost = not ended.loss <= losses[0].item() + (LOST - 1) * abs(losses[0].item())
    return 0.0 if lost else skill(ended, outputs)


def skill(ended: Evaluation, outputs: OutputSpec) -> float:
    """An accuracy or an R2 as the share of the way from guessing to all right, 0 to 1.

    Of several tasks the mean of theirs.
    """
    own = skills(ended, outputs)
    return sum(own.values()) / len(own) if own else _skill(ended.headline[1], outputs)


def skills(ended: Evaluation, outputs: OutputSpec) -> dict[str, float]:
    """The skill in each of several tasks, by its name; empty of one."""
    if not isinstance(ended.score, TaskScores):
        return {}
    reached = ended.score.headlines
    return {head.name: _skill(reached[head.name][1], head.outputs) for head in outputs.heads}


def _skill(figure: float, outputs: OutputSpec) -> float:
    guess = 0.0
    if outputs.task == "single_label":
        guess = 1 / max(outputs.size, 2)
    elif outputs.task == "multi_label" and outputs.examples:
        shares = [count / outputs.examples for count in outputs.class_counts]
        guess = sum(max(share, 1 - share) for share in shares) / len(shares)
    if not math.isfinite(figure):
        return 0.0
    return min(1.0, max(0.0, (figure - guess) / max(1 - guess, 1e-9)))
