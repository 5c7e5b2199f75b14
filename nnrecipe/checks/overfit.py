"""The verdict on an attempt to overfit a few examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.form import ADVICE, output_span, wants_logits
from nnrecipe.checks.model.sensitivity import (
    IGNORED,
    sees_with_any_weights,
    starts_blind,
    why_blind,
)
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.data.batch import Batch
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.scores import ValueScore

SOURCE = "lecture: sanity check, overfit a tiny subset"
ZEROED, ANOTHER_SEED = "inputs of zero", "another seed"
"""Counterfactuals of an attempt that failed, by their labels."""
MOST_VARIANCE = 0.9
"""Of the targets, when explained, shows that inputs and targets belong together."""


@dataclass(frozen=True)
class Attempt:
    """One training on the tiny subset, and its `end`: an evaluation on it.

    `lower` says that it is the recipe's optimizer at a lower rate than the recipe's.
    """

    label: str
    lower: bool
    losses: list[float]
    end: Evaluation
    model: nn.Module

    @property
    def loss(self) -> float:
        """The loss at the end."""
        return self.end.loss

    @property
    def solved(self) -> bool:
        """Whether every example is right."""
        return self.end.score.solved

    @property
    def told(self) -> str:
        """How right the model has become: `accuracy 0.95`."""
        name, value = self.end.headline
        return f"{name} {value:.2f}"

    @property
    def diverged(self) -> bool:
        """Whether the loss ceased to be finite, or ended above where it started."""
        return not math.isfinite(self.loss) or self.loss > 1.2 * abs(self.losses[0])


def judge_overfit(
    bench: Bench,
    batch: Batch,
    attempts: list[Attempt],
    *,
    others: Sequence[Attempt] = (),
    starts_low: bool,
) -> Finding:
    """The first attempt is the recipe's own, if its rate is known; the next have other optimizers.

    `others` are the counterfactuals of a failure: on zeroed inputs, and from another seed.
    `starts_low` says that the schedule begins well below the recipe's rate.
    """
    first, last = attempts[0], attempts[-1]
    verdict, cause, confidence, advice = Verdict.PASS, None, 0.0, ""
    nearly = max(attempts, key=lambda attempt: attempt.end.headline[1])
    if not last.solved and _explains_most(nearly):
        verdict, cause, confidence = Verdict.WARN, Cause.UNDERTRAINED, 0.4
        advice = (
            "The model explains most of the targets' variance, if not all of it in these steps: "
            "raise stages.overfit.steps, or start at the targets' mean (init.output_bias: "
            "target_mean)."
        )
    elif not last.solved:
        verdict = Verdict.FAIL
        cause, advice = _why_not(bench, batch, attempts, {o.label: o for o in others})
        confidence = 0.3 if cause is Cause.UNDERFITTING else 0.8
    elif last is not first and bench.learning_rate is not None:
        too_high = last.lower or first.diverged
        # A rate may be too high for the first steps on few examples and right for the training:
        # because it is reached by and by, or because that has other batches. The probe will tell.
        if not too_high or (first.diverged and not starts_low):
            verdict, confidence = Verdict.WARN, 0.6
            cause = Cause.LR_TOO_HIGH if too_high else Cause.LR_TOO_LOW
            advice = (
                f"The model can learn these examples with {last.label}, so the learning rate or "
                "the optimizer is at fault; the lr_probe stage says which rates are good."
            )
    told = "".join(f"; {attempt.label}: {attempt.told}" for attempt in (*attempts[1:], *others))
    return Finding(
        check="overfit",
        verdict=verdict,
        measured=f"{first.told}, loss {first.loss:.4g} after {len(first.losses)} "
        f"steps of {first.label}{told}",
        expected=f"{first.end.headline[0]} 1.00 on {len(batch.targets)} examples, loss near 0",
        cause=cause,
        confidence=confidence,
        advice=advice,
        source=SOURCE,
    )


def _explains_most(attempt: Attempt) -> bool:
    """Whether a regression is well on its way, which proves that it can learn these examples."""
    score = attempt.end.score
    return isinstance(score, ValueScore) and bool((score.r2 > MOST_VARIANCE).all())


def _why_not(
    bench: Bench, batch: Batch, attempts: list[Attempt], others: dict[str, Attempt]
) -> tuple[Cause, str]:
    """What the models that failed have in common, each by an identity or a counterfactual."""
    if not sees_with_any_weights(bench, batch):
        return Cause.INPUT_IGNORED, IGNORED
    if starts_blind(bench, batch):
        return why_blind(bench.make_model().train(), batch)
    judged = bench.outputs.task != "regression" and wants_logits(bench)
    form = output_span(bench).cause if judged else None
    if form is not None:
        return form, ADVICE[form]
    if ZEROED in others and _alike(others[ZEROED].losses, attempts):
        return Cause.INPUT_IGNORED, (
            "With inputs of zero the loss takes the same course, so what it learns is not from "
            "them: look where forward uses its argument."
        )
    if ANOTHER_SEED in others and others[ANOTHER_SEED].solved:
        return Cause.DEAD_RELU, (
            "From another seed's weights the same network learns them, so it hangs on the initial "
            "weights: units that start dead stay so. Set init: kaiming_normal, or use leaky_relu."
        )
    return Cause.UNDERFITTING, (
        "The model can't learn even these examples: look at its capacity, its initial weights and "
        "whether labels and inputs belong together."
    )


def _alike(zeroed: Sequence[float], attempts: Sequence[Attempt]) -> bool:
    """Whether some attempt's loss went the way it goes without inputs, and not nowhere."""
    fell = zeroed[0] - zeroed[-1] > 0.05 * abs(zeroed[0])
    return fell and any(
        math.isclose(mine, theirs, rel_tol=0.02)
        for attempt in attempts
        for mine, theirs in [(attempt.losses[-1], zeroed[-1])]
        if len(attempt.losses) == len(zeroed)
    )
