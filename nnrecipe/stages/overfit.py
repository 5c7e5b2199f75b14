"""The overfit stage: a model that can't learn twenty examples by heart won't learn the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.learning_rate import STALLED
from nnrecipe.checks.overfit import ANOTHER_SEED, ZEROED, Attempt, judge_overfit
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Count, NonNegativeFloat, Spec
from nnrecipe.data.batch import Batch
from nnrecipe.layers.interventions import DropoutOff, without_dropout
from nnrecipe.optimizers import Adam
from nnrecipe.stages.run import Run
from nnrecipe.training.averaging import recompute_statistics
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.setup import Limits, TrainSetup
from nnrecipe.training.steps import train_steps

KNOWN_GOOD_RATES = (1e-3, 1e-2, 1e-4)


class OverfitStage(Spec):
    """Trains on a few examples, all of them in every step.

    A classifier has to recognise each of them, a regression to explain their targets' variance.
    Regularization, weight decay, dropout and augmentation are off.
    """

    source: ClassVar[str] = "lecture: sanity check, overfit a tiny subset"

    kind: Literal["overfit"] = "overfit"
    examples: Count = Field(20, description="training examples, as many of each class as possible")
    steps: Count = Field(200, description="optimizer steps at most")
    target_loss: NonNegativeFloat = Field(
        0.02, description="stop when all examples are right and the loss is below this"
    )

    def run(self, run: Run) -> StageResult:
        """Try with the recipe's optimizer; if that fails, with others that are known to be good."""
        bench = run.bench
        chosen = _chosen(bench, self.examples)
        batch = _consistent(bench.data.examples(bench.data.train, chosen))
        run.progress.begin(self.kind)
        attempts: list[Attempt] = []
        for way in _ways(bench):
            attempts.append(self._attempt(way, batch, bench))
            if attempts[-1].solved:
                break
        others = [] if attempts[-1].solved else self._counterfactuals(batch, bench)
        first = attempts[0]
        facts = {
            "examples": len(batch.targets),
            **first.end.figures(),
            "steps": len(first.losses),
            "losses": first.losses,
            "attempts": {
                attempt.label: attempt.end.headline[1] for attempt in (*attempts, *others)
            },
        }
        finding = judge_overfit(
            bench, batch, attempts, others=others, starts_low=run.schedule(0) < 0.5
        )
        slow = finding.cause is Cause.LR_TOO_LOW and not _stalls(first, attempts[-1])
        if slow and not run.length_known:
            finding = finding.model_copy(update=_SLOW)
        return StageResult.of(self.kind, facts, [finding])

    def _counterfactuals(self, batch: Batch, bench: Bench) -> list[Attempt]:
        """The same with inputs of zero, and from weights that another seed draws."""
        rate = KNOWN_GOOD_RATES[0]
        blank = batch._replace(inputs=torch.zeros_like(batch.inputs))
        other = bench.make_variant(seed=bench.seed + 1)
        return [
            self._attempt(_with_adam(bench, bench.make_model(), rate, ZEROED), blank, bench),
            self._attempt(_with_adam(bench, other, rate, ANOTHER_SEED), batch, bench),
        ]

    def _attempt(self, way: _Way, batch: Batch, bench: Bench) -> Attempt:
        def ended() -> Evaluation:
            # Running statistics lag behind, for thousands of steps where their momentum is 0.01.
            recompute_statistics(way.setup.model, [batch], precision=bench.precision)
            return evaluate(way.setup.model, [batch], way.setup.loss, outputs=bench.outputs)

        losses: list[Tensor] = []
        with isolated_rng(bench.seed, self.kind), DropoutOff():
            for record in train_steps(way.setup, repeat(batch, self.steps)):
                losses.append(record.loss)
                if record.step % 10 != 9:
                    continue
                loss = record.loss.item()
                if math.isnan(loss) or (loss < self.target_loss and ended().score.solved):
                    break
        return Attempt(
            label=way.label,
            lower=way.lower,
            losses=torch.stack(losses).tolist(),
            end=ended(),
            model=way.setup.model,
        )


_SLOW = {
    "verdict": Verdict.PASS,
    "cause": None,
    "confidence": 0.0,
    "advice": "The loss falls at your own rate as well, if not as fast.",
}
"""What is said otherwise of a low rate where nobody has said how many steps it will get."""


def _stalls(own: Attempt, solved: Attempt) -> bool:
    """Whether the one loss hardly fell beside that of an attempt which learnt the examples."""
    falls = [attempt.losses[0] - attempt.losses[-1] for attempt in (own, solved)]
    return falls[0] < STALLED * falls[1]


@dataclass(frozen=True)
class _Way:
    """A way to train, and whether it is the recipe's own with a lower rate."""

    label: str
    setup: TrainSetup
    lower: bool = False


def _ways(bench: Bench) -> Iterator[_Way]:
    """The recipe's own (unless its rate isn't known yet), the same at a tenth, then Adam."""
    if bench.learning_rate is not None:
        for factor, label in ((1.0, "the recipe's optimizer"), (0.1, "a tenth of its rate")):
            model = without_dropout(bench.make_model())
            setup = bench.setup(model, lr=bench.learning_rate * factor, regularized=False)
            yield _Way(label, setup, lower=factor < 1)
    for rate in KNOWN_GOOD_RATES:
        yield _with_adam(bench, bench.make_model(), rate, f"adam at {rate:g}")


def _with_adam(bench: Bench, model: nn.Module, rate: float, label: str) -> _Way:
    """Adam on all that trains, without clipping."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    setup = bench.setup(without_dropout(model), lr=rate, regularized=False)
    adam = Adam().build([{"params": trainable, "lr": rate}], lr=rate)
    return _Way(label, replace(setup, optimizer=adam, limits=Limits(), reevaluates=False))


def _chosen(bench: Bench, size: int) -> Tensor:
    """`size` indices of training examples; of classes, drawn in turn, each with its share."""
    targets = bench.data.train.targets
    order = torch.randperm(len(targets), generator=generator(bench.seed, "overfit"))
    if bench.outputs.task != "single_label":
        return order[:size]
    shuffled = targets[order]
    rank = torch.zeros_like(shuffled)
    for label in shuffled.unique():
        of_class = shuffled == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    return order[torch.argsort(rank, stable=True)[:size]]


def _consistent(batch: Batch) -> Batch:
    """Without the examples that give the same inputs as an earlier one another target."""
    rows = torch.nan_to_num(batch.inputs.flatten(1))
    first = torch.stack([(rows == row).all(1).int().argmax() for row in rows])
    agrees = (batch.targets == batch.targets[first]).reshape(len(rows), -1).all(1)
    return Batch(batch.inputs[agrees], batch.targets[agrees])
