"""Verdicts on a training that has run: did it diverge, learn, overfit; how large were its steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.fit import EpochRecord

SOURCE = "lecture: babysitting the learning process"
RATIO_BAND = (1e-5, 1e-1)
"""Update over weight, in the median over a training, that gives no reason to look."""
APART = 0.08
"""How much less accurate validation is than training where a rising loss means overfitting."""
LEAST_STEPS = 100
"""Optimizer steps before a loss that doesn't fall is held against the model."""
LEAST_SAMPLES = 3
"""Sampled steps that it takes to say something of the update ratio; never one alone."""


def judge_history(
    records: Sequence[EpochRecord],
    *,
    start_loss: float,
    chance: float,
    learning_rate: float,
) -> Iterator[Finding]:
    """The findings on a whole training.

    `start_loss` is the loss before the first step, `chance` that of a uniform guess.
    """
    diverged = _divergence(records, start_loss=start_loss, learning_rate=learning_rate)
    yield diverged
    if diverged.verdict is Verdict.FAIL:
        return
    yield _progress(records, start_loss=start_loss, chance=chance, learning_rate=learning_rate)
    yield from _update_ratio(records)
    yield from _gap(records)


def _divergence(
    records: Sequence[EpochRecord], *, start_loss: float, learning_rate: float
) -> Finding:
    """Exploding: the loss left the finite numbers, or tripled, without having fallen before.

    Unstable: it had fallen, and then did so.
    """
    losses = [record.train_loss for record in records]
    last = records[-1]
    broken = not math.isfinite(_end_loss(last))
    high = broken or losses[-1] > 3 * abs(start_loss)
    finite = [loss for loss in losses if math.isfinite(loss)]
    fell = bool(finite) and min(finite) < 0.97 * start_loss
    word = "unstable" if fell else "exploding"
    if not high:
        return Finding(
            check="divergence",
            verdict=Verdict.PASS,
            measured=f"loss {start_loss:.4g} -> {losses[-1]:.4g}",
            expected="finite, and not above where it started",
            source=SOURCE,
        )
    step = last.step if last.diverged_at is None else last.diverged_at
    end = f"not finite from step {step}" if broken else f"{losses[-1]:.4g}"
    course = f"fell to {min(finite):.4g}, then {end}" if fell else f"{start_loss:.4g}, then {end}"
    return Finding(
        check="divergence",
        verdict=Verdict.FAIL,
        measured=f"{word}: {course} (epoch {last.epoch})",
        expected="a finite loss that falls",
        cause=Cause.LR_TOO_HIGH,
        confidence=0.8,
        advice=f"Lower optimizer.lr (now {learning_rate:g}), or let the probe choose with "
        "optimizer.lr: auto: each step overshoots, and the next one is larger.",
        source=SOURCE,
    )


def _end_loss(record: EpochRecord) -> float:
    """The latest loss of an epoch: the validation's, or the training's where there is none."""
    if record.diverged_at is not None or record.validation is None:
        return math.nan
    return record.validation.loss


def _progress(
    records: Sequence[EpochRecord], *, start_loss: float, chance: float, learning_rate: float
) -> Finding:
    """Whether the loss fell at all over the whole training.

    A network that starts well below chance, a pretrained one say, has less far to fall.
    """
    end = min(record.train_loss for record in records)
    fall = (start_loss - end) / max(abs(start_loss), 1e-12)
    stuck = fall < 0.02 and end > 0.5 * chance
    ratio = _median_ratio(records)
    slow = stuck and ratio is not None and ratio < 1e-4
    verdict, cause, confidence, advice = Verdict.PASS, None, 0.0, ""
    if slow:
        verdict, cause, confidence = Verdict.FAIL, Cause.LR_TOO_LOW, 0.85
        advice = (
            f"Raise optimizer.lr (now {learning_rate:g}): the weights change by {ratio:.1g} of "
            "their size in a step, where about 1e-3 is usual."
        )
    elif stuck and records[-1].step < LEAST_STEPS:
        verdict, cause, confidence = Verdict.WARN, Cause.UNDERTRAINED, 0.3
        advice = "These are few steps to judge by: train for longer."
    elif stuck:
        verdict, cause, confidence = Verdict.FAIL, Cause.UNDERFITTING, 0.3
        advice = "The weights move, but the loss doesn't fall: see the overfit stage."
    return Finding(
        check="learning",
        verdict=verdict,
        measured=f"{'too low: ' if slow else ''}loss {start_loss:.5g} -> {end:.5g} "
        f"in {len(records)} epochs, {records[-1].step} steps",
        expected="a fall by more than 2 %",
        cause=cause,
        confidence=confidence,
        advice=advice,
        source=SOURCE,
    )


def _median_ratio(records: Sequence[EpochRecord]) -> float | None:
    """The median update/weight ratio over layers and sampled steps; None if these are too few.

    The first step doesn't count: its gradient may be zero by design (a residual branch that starts
    at zero) and its rate a thousandth (warm-up).
    """
    sampled = [
        figures["update_ratio"].values()
        for record in records
        for step, figures in record.monitored.items()
        if step > 0
    ]
    if len(sampled) < LEAST_SAMPLES:
        return None
    finite = [ratio for ratios in sampled for ratio in ratios if math.isfinite(ratio)]
    return median(finite) if finite else None


def _update_ratio(records: Sequence[EpochRecord]) -> Iterator[Finding]:
    ratio = _median_ratio(records)
    if ratio is None:
        return
    low, high = RATIO_BAND
    odd = not low <= ratio <= high
    yield Finding(
        check="update_ratio",
        verdict=Verdict.WARN if odd else Verdict.PASS,
        measured=f"median {ratio:.2g}",
        expected=f"about 1e-3 ({low:g} ... {high:g})",
        cause=(Cause.LR_TOO_LOW if ratio < 1e-3 else Cause.LR_TOO_HIGH) if odd else None,
        confidence=0.4 if odd else 0.0,
        advice="Change optimizer.lr by the factor that brings the ratio near 1e-3." if odd else "",
        source="lecture: monitoring, ratio of update to weight",
    )


def _gap(records: Sequence[EpochRecord]) -> Iterator[Finding]:
    """Overfitting: validation loss has risen well above its minimum while training fell on.

    Besides, validation must be clearly less right than training; in a regression, which counts no
    right examples, its loss must be more than half again as large.
    """
    validated = [(r, r.validation) for r in records if r.validation is not None]
    if len(validated) < 3:
        return
    lowest = min(validation.loss for _, validation in validated)
    record, last = validated[-1]
    rising = last.loss > 1.25 * lowest and last.loss > record.train_loss
    name, reached = last.headline
    told = f"{name} {reached:.3f} in validation"
    if record.train_accuracy is None:
        apart = last.loss > 1.5 * record.train_loss
    else:
        apart = record.train_accuracy - reached > APART
        told = f"{name} {record.train_accuracy:.3f} in training, {reached:.3f} in validation"
    over = rising and apart
    yield Finding(
        check="generalization",
        verdict=Verdict.WARN if over else Verdict.PASS,
        measured=f"{told}; loss {record.train_loss:.4g} in training, {last.loss:.4g} in "
        f"validation, at best {lowest:.4g}",
        expected="a small gap, and no rise of the validation loss",
        cause=Cause.OVERFITTING if over else None,
        confidence=0.7 if over else 0.0,
        advice="More data, data.augment, regularization.l2 or dropout, or early stopping: the "
        "model learns the training examples by heart."
        if over
        else "",
        source="lecture: monitoring, the gap between training and validation accuracy",
    )
