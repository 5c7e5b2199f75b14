"""Did the training learn, in steps of the right size, and for long enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

from nnrecipe.checks.history.reasons import Reason, too_large_steps
from nnrecipe.checks.history.settings import LARGE_STEP, root, small_steps
from nnrecipe.checks.history.trained import LEAST_STEPS, Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.further import Suspect

SOURCE = "lecture: babysitting the learning process"
KILLED = 0.4
"""By so much the dead share of a layer's units grew, where large steps have killed them."""
SWING = 0.03
"""A fall of the training accuracy from one epoch to the next (AutoTrainer)."""
SWINGING = 0.2
"""The share of epochs with such a fall from which a training oscillates (AutoTrainer)."""

STILL_FALLING = 0.05
"""A fall of the loss in the last quarter of the steps, relative to the quarter before."""
FEW_EPOCHS = 2
SLOW = 3e-4
"""Updates, relative to the weights, that are too small where a training lacked many steps."""
GAINS = {True: 0.02, False: 0.1}
"""What as many steps again gain in validation that a training lacked: of one or two epochs, where
every example has been seen only once or twice, and of more, which end where somebody chose to."""


def judge_progress(trained: Trained) -> Finding:
    """Whether the loss fell at all over the whole training, and the model is better than guessing.

    The cause is looked for among the settings that make steps too small or too large.
    """
    verdict, reason = Verdict.PASS, None
    if trained.is_stuck or trained.is_poor:
        found = root(trained)
        verdict = Verdict.FAIL if trained.is_stuck or found is not None else Verdict.WARN
        reason = found or _no_reason(trained)
        if reason.cause is Cause.UNDERTRAINED:
            verdict = Verdict.WARN
    start, end = trained.start_loss, min(record.train_loss for record in trained.records)
    slow = reason is not None and reason.cause is Cause.LR_TOO_LOW
    skill = "" if trained.clean is None else _scored(trained)
    return Finding(
        check="learning",
        verdict=verdict,
        measured=f"{'too low: ' if slow else ''}loss {start:.5g} -> {end:.5g} "
        f"in {len(trained.records)} epochs, {trained.last.step} steps{skill}",
        expected="a fall by more than 2 %, and a model that is better than guessing",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source=SOURCE,
    )


def _scored(trained: Trained) -> str:
    assert trained.clean is not None, "only what was evaluated has a score"
    name, value = trained.clean.headline
    return f"; {name} {value:.3f} on training examples"


def _no_reason(trained: Trained) -> Reason:
    if trained.last.step < LEAST_STEPS:
        return Reason(Cause.UNDERTRAINED, 0.3, "These are few steps to judge by: train for longer.")
    return Reason(
        Cause.UNDERFITTING,
        0.3,
        "The weights move, but the loss hardly falls: see the overfit stage, which tells a model "
        "that can't learn from data that can't be learned.",
    )


def judge_killing(trained: Trained) -> Iterator[Finding]:
    """Large steps that killed units of a network which learned nonetheless, below its abilities."""
    small = trained.conditions.has_small_batch_norm  # which is reason enough
    if trained.is_poor or small or trained.largest_ratio <= LARGE_STEP:
        return
    start, end = trained.dead_at_the_start, trained.dead_at_the_end
    killed = [path for path in end if end[path] - start.get(path, 0.0) > KILLED]
    if not killed:
        return
    reason = too_large_steps(trained, confidence=0.5)
    path = max(killed, key=lambda layer: end[layer])
    yield Finding(
        check="step_size",
        verdict=Verdict.WARN,
        measured=f"an update of {trained.largest_ratio:.2g} times the weights; "
        f"{end[path]:.0%} of the units of {path} are dead at the end, "
        f"{start.get(path, 0.0):.0%} at the start",
        expected=f"updates below {LARGE_STEP:g} of the weights",
        cause=reason.cause,
        confidence=reason.confidence,
        advice=reason.advice,
        source="lecture: activation functions, dead ReLU",
    )


def judge_oscillation(trained: Trained) -> Iterator[Finding]:
    """The training loss up and down from epoch to epoch: falls of the accuracy, or rises of it.

    That of validation says little: on a small split it swings by itself.
    """
    if len(trained.records) < 4:
        return
    swings = [_undoes(trained, before, after) for before, after in pairwise(trained.records)]
    bad = sum(swings) >= max(2, SWINGING * len(trained.records))
    reason = None
    if bad:
        reason = root(trained) if trained.is_poor else None
        reason = reason or too_large_steps(trained, confidence=0.5)
    yield Finding(
        check="oscillation",
        verdict=Verdict.WARN if bad else Verdict.PASS,
        measured=f"{sum(swings)} of {len(swings)} epochs undid some of the one before",
        expected=f"a training accuracy that falls by {SWING:g} in fewer than {SWINGING:.0%}",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="AutoTrainer (Zhang et al. 2021), table 1",
    )


def _undoes(trained: Trained, before: EpochRecord, after: EpochRecord) -> bool:
    """Whether an epoch is clearly worse than the one before it."""
    if before.train_accuracy is None or after.train_accuracy is None:
        return after.train_loss - before.train_loss > SWING * abs(trained.start_loss)
    share, examples = before.train_accuracy, max(trained.outputs.examples, 1)
    noise = math.sqrt(share * (1 - share) / examples)
    return share - after.train_accuracy >= max(SWING, 3 * noise)


def may_be_undertrained(trained: Trained) -> bool:
    """Whether the training ended while it was still getting better, at a rate that was still high.

    Then it is worth trying some more steps. After one or two epochs it always is, and also where
    the model is poor: a loss that falls too slowly hardly falls within a quarter of the steps.
    """
    losses = trained.losses
    quarter = len(losses) // 4
    rates = [record.rate_factor for record in trained.records]
    validated = [validation.loss for _, validation in trained.epochs()]
    if not quarter or not validated or trained.stopped_early or rates[-1] < 0.1 * max(rates):
        return False
    before, after = fmean(losses[-2 * quarter : -quarter]), fmean(losses[-quarter:])
    least = 0.0 if trained.is_poor else STILL_FALLING
    falls = before - after > least * abs(before) or len(trained.records) <= FEW_EPOCHS
    return falls and validated[-1] <= min(validated)


def judge_length(trained: Trained) -> Iterator[Finding]:
    """Whether as many steps again make a clear difference in validation."""
    trial, validation = trained.further, trained.last.validation
    if trial is None or trial.suspect is not Suspect.LENGTH or validation is None:
        return
    name, before = validation.headline
    _, after = trial.ended.headline
    few = len(trained.records) <= FEW_EPOCHS
    gain, needed = after - before, max(GAINS[few], 2 * trained.noise)
    bad = gain > needed and math.isfinite(gain)
    slow = trained.median_ratio is not None and trained.median_ratio < SLOW
    reason = _too_short(trained) if few or not slow else small_steps(trained)
    yield Finding(
        check="length",
        verdict=Verdict.WARN if bad else Verdict.PASS,
        measured=f"{trial.steps} steps more take {name} in validation from {before:.3f} to "
        f"{after:.3f}",
        expected=f"a gain below {needed:.3f}",
        cause=reason.cause if bad else None,
        confidence=reason.confidence if bad else 0.0,
        advice=reason.advice if bad else "",
        source=SOURCE,
    )


def _too_short(trained: Trained) -> Reason:
    epochs = 4 * len(trained.records)
    return Reason(
        Cause.UNDERTRAINED,
        0.6,
        f"Train for longer (training.epochs: {epochs}): the loss was still falling when the "
        "training ended, and with more steps the model goes on to improve.",
    )
