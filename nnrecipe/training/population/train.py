"""Training a population, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from nnrecipe.data.batch import Batch
from nnrecipe.training.population.crew import Crew
from nnrecipe.training.population.plan import Engine, Plan
from nnrecipe.training.population.team import Feed
from nnrecipe.training.setup import TrainSetup, grouped

LOOK_EVERY = 16
"""Steps between two looks at which replicas are still alive; a look waits for the device."""

GiveUp = Callable[[Tensor], Tensor]
"""losses [K] -> bool [K]: which replicas to train no further."""


@dataclass(frozen=True)
class PopulationRecord:
    """One step of K replicas. The tensors are on the device, so that nothing waits for them.

    `losses`: [K] as in `StepRecord`, NaN once a replica has been taken out; `correct`: [K] likewise
    (None in a regression). `alive`: [K], False from the step on at which a loss was not finite or
    given up; some steps later the replica is taken out, with its weights as they then are.
    `plan` is how this step was computed, and `refused` says why which replicas were not stacked.
    """

    step: int
    losses: Tensor
    correct: Tensor | None
    alive: Tensor
    examples: int
    plan: Plan
    refused: Mapping[int, str]


def train_population(
    setups: Sequence[TrainSetup],
    batches: Iterable[Batch] | Iterable[Sequence[Batch]],
    *,
    engine: Engine = "auto",
    first_step: int = 0,
    give_up: GiveUp | None = None,
) -> Iterator[PopulationRecord]:
    """Train each setup as `train_steps` would; yields after each step of all of them.

    `batches` holds one batch for all replicas in each place, or a sequence with one for each (of
    one shape). Ends early when no replica is alive. When the iterator has ended or was closed, each
    setup's model and optimizer have their weights, buffers and state; before that they may not.

    `auto` measures over the first steps, so that rounding, and the draws of dropout, can differ
    from one run to the next; name an engine, or give a `Plan`, to have them alike.
    Nothing is sampled: `monitor_every` is not heeded.
    """
    accumulate = {setup.accumulate for setup in setups}
    assert len(accumulate) == 1, "all replicas make their steps of as many batches"
    alive = torch.ones(len(setups), dtype=torch.bool, device=setups[0].device)
    feeds = cast("Iterable[Batch]", batches)  # `grouped` takes them as they are
    with closing(Crew(setups, engine)) as crew:
        for step, group in enumerate(grouped(feeds, accumulate.pop()), first_step):
            losses, correct = crew.step(step, group)
            lost = ~torch.isfinite(losses)
            alive = alive & ~(lost if give_up is None else lost | give_up(losses))
            yield PopulationRecord(
                step=step,
                losses=losses,
                correct=correct,
                alive=alive,
                examples=sum(map(_examples, group)),
                plan=crew.plan,
                refused=crew.refused,
            )
            if (step - first_step) % LOOK_EVERY == LOOK_EVERY - 1:
                crew.keep(alive, next_step=step + 1)
                if not crew.members:
                    return


def _examples(feed: Feed) -> int:
    """The examples that each replica sees."""
    return len((feed if isinstance(feed, Batch) else feed[0]).targets)
