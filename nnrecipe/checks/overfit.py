"""The verdict on an attempt to overfit a few examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

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

SOURCE = "lecture: sanity check, overfit a tiny subset"
ZEROED, ANOTHER_SEED = "inputs of zero", "another seed"
"""Counterfactuals of an attempt that failed, by their labels."""
LEARNT = 0.2
"""By what share the loss must come below that of zeroed inputs, to have been learnt from them."""
RECENT = 10
"""Steps whose median loss is where an attempt has ended."""
UNMOVED = 0.01
"""Of its start: a loss that never went further away has hardly been trained."""


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
        """Whether the loss ceased to be finite, or stayed above where it started.

        What a single step did to it, the last one say, is no divergence.
        """
        ended = median(self.losses[-RECENT:])
        return not math.isfinite(self.loss) or not ended <= 1.2 * abs(self.losses[0])

    @property
    def fall(self) -> float:
        """How far the loss fell."""
        return self.losses[0] - self.losses[-1]


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
    if not last.solved:
        by_label = {other.label: other for other in others}
        cause, advice = _why_not(bench, batch, attempts, by_label)
        verdict, confidence = Verdict.FAIL, 0.3 if cause is Cause.UNDERFITTING else 0.8
        if cause is Cause.UNDERFITTING and _learns(attempts, by_label.get(ZEROED)):
            verdict, cause, confidence = Verdict.WARN, Cause.UNDERTRAINED, 0.4
            advice = (
                "The model learns much of the examples, if not all in these steps: raise "
                "stages.overfit.steps; targets far from 0 are reached sooner from their mean "
                "(init.output_bias: target_mean)."
            )
    elif last is not first and bench.learning_rate is not None:
        cause = _direction(attempts)
        advice = (
            f"The model can learn these examples with {last.label}, so the learning rate or "
            "the optimizer is at fault; the lr_probe stage says which rates are good."
        )
        # A rate may be too high for the first steps on few examples and right for the training:
        # because it is reached by and by, or because that has other batches. The probe will tell.
        harmless = cause is Cause.LR_TOO_HIGH and (starts_low or not first.diverged)
        if first.fall > 0.5 * last.fall or harmless:
            cause, advice = None, ""
        elif cause is not None:
            verdict, confidence = Verdict.WARN, 0.6
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


def _learns(attempts: Sequence[Attempt], zeroed: Attempt | None) -> bool:
    """Whether some attempt's loss came well below what can be had without the inputs."""
    without = attempts[0].losses[0] if zeroed is None else zeroed.loss
    return min(attempt.loss for attempt in attempts) < without - LEARNT * abs(without)


def _direction(attempts: Sequence[Attempt]) -> Cause | None:
    """Whether the recipe's rate is too high or too low, by what a tenth of it does.

    Too high if that gets further; too low if it gets nowhere near as far, as long as the fall grows
    with the rate, or if the loss stays where it was. None where neither is so.
    """
    first, last = attempts[0], attempts[-1]
    lower = next((attempt for attempt in attempts if attempt.lower), None)
    if last.lower or first.diverged or (lower is not None and lower.fall > max(first.fall, 0.0)):
        return Cause.LR_TOO_HIGH
    start = first.losses[0]
    if max(abs(loss - start) for loss in first.losses) < UNMOVED * abs(start):
        return Cause.LR_TOO_LOW
    slow = first.fall > 0 and lower is not None and lower.fall < 0.5 * first.fall
    return Cause.LR_TOO_LOW if slow else None


def _why_not(
    bench: Bench, batch: Batch, attempts: list[Attempt], others: dict[str, Attempt]
) -> tuple[Cause, str]:
    """What the models that failed have in common, each by an identity or a counterfactual."""
    if not sees_with_any_weights(bench, batch):
        return Cause.INPUT_IGNORED, IGNORED
    if starts_blind(bench, batch):
        return why_blind(bench.make_model().train(), batch)
    judged = bench.outputs.task not in ("regression", "several") and wants_logits(bench)
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
