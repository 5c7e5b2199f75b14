"""The overfit stage: a model that can't learn twenty examples by heart won't learn the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks import without_dropout
from nnrecipe.checks.bench import Bench
from nnrecipe.checks.overfit import Attempt, judge_overfit
from nnrecipe.core.findings import StageResult
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Count, NonNegativeFloat, Spec
from nnrecipe.data.batch import Batch
from nnrecipe.optimizers import Adam
from nnrecipe.stages.run import Run
from nnrecipe.training.evaluate import evaluate
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import train_steps

KNOWN_GOOD_RATES = (1e-3, 1e-2, 1e-4)


class OverfitStage(Spec):
    """Trains on a few examples, all of them in every step.

    Regularization, weight decay, dropout and augmentation are off.
    """

    kind: Literal["overfit"] = "overfit"
    examples: Count = Field(20, description="training examples, as many of each class as possible")
    steps: Count = Field(200, description="optimizer steps at most")
    target_loss: NonNegativeFloat = Field(
        0.02, description="stop when all examples are recognised and the loss is below this"
    )

    def run(self, run: Run) -> StageResult:
        """Try with the recipe's optimizer; if that fails, with Adam at rates known to be good."""
        bench = run.bench
        chosen = _one_of_each(bench.data.train.targets, self.examples, seed=bench.seed)
        batch = bench.data.examples(bench.data.train, chosen)
        run.progress.begin(self.kind)
        attempts: list[Attempt] = []
        for label, setup in _setups(bench):
            attempts.append(self._attempt(label, setup, batch, bench))
            if attempts[-1].solved:
                break
        own = attempts[0]
        facts = {
            "examples": len(chosen),
            "accuracy": own.accuracy,
            "loss": own.loss,
            "steps": len(own.losses),
            "losses": own.losses,
            "attempts": {attempt.label: attempt.accuracy for attempt in attempts},
        }
        return StageResult.of(self.kind, facts, [judge_overfit(bench, batch, attempts)])

    def _attempt(self, label: str, setup: TrainSetup, batch: Batch, bench: Bench) -> Attempt:
        losses: list[Tensor] = []
        with isolated_rng(bench.seed, self.kind):
            for record in train_steps(setup, repeat(batch, self.steps)):
                losses.append(record.loss)
                if record.step % 10 == 9 and self._enough(losses[-1], record.correct, batch):
                    break
        ended = evaluate(setup.model, [batch], setup.loss, num_classes=bench.num_classes)
        return Attempt(
            label=label,
            losses=torch.stack(losses).tolist(),
            accuracy=ended.accuracy,
            loss=ended.loss,
            model=setup.model,
        )

    def _enough(self, loss: Tensor, correct: Tensor, batch: Batch) -> bool:
        value = loss.item()
        learned = value < self.target_loss and int(correct) == len(batch.targets)
        return learned or value != value  # NaN stays NaN


def _setups(bench: Bench) -> Iterator[tuple[str, TrainSetup]]:
    """The recipe's own optimizer first (unless its rate isn't known yet), then known-good ones."""
    if bench.learning_rate is not None:
        model = without_dropout(bench.make_model())
        yield (
            "the recipe's optimizer",
            bench.setup(model, lr=bench.learning_rate, regularized=False),
        )
    for rate in KNOWN_GOOD_RATES:
        model = without_dropout(bench.make_model())
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        setup = bench.setup(model, lr=rate, regularized=False)
        adam = Adam().build([{"params": trainable, "lr": rate}], lr=rate)
        yield f"adam at {rate:g}", replace(setup, optimizer=adam, clip_norm=None)


def _one_of_each(targets: Tensor, size: int, *, seed: int) -> Tensor:
    """`size` indices, drawn class by class in turn, so that every class has its share."""
    order = torch.randperm(len(targets), generator=generator(seed, "overfit"))
    shuffled = targets[order]
    rank = torch.zeros_like(shuffled)
    for label in shuffled.unique():
        of_class = shuffled == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    return order[torch.argsort(rank, stable=True)[:size]]
