"""Did the loss stay finite, and below where it started; and if not, what went wrong first."""

from __future__ import annotations

import math

from nnrecipe.checks.history.reasons import Reason, too_large_steps, too_much_dropout
from nnrecipe.checks.history.settings import STRONG_DROPOUT
from nnrecipe.checks.history.trained import Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.origin import Origin, Place

SOURCE = "lecture: babysitting the learning process"
OVERFLOWS = 1e6
"""The magnitude in a step from which what follows may overflow; below it, it is undefined."""


def judge_divergence(trained: Trained) -> Finding:
    """Exploding: the loss left the finite numbers, or tripled, without having fallen before.

    Unstable: it had fallen, and then did so.
    """
    start, last = trained.start_loss, trained.last
    losses = [record.train_loss for record in trained.records]
    broken = not math.isfinite(_end_loss(last))
    if not broken and losses[-1] <= 3 * abs(start):
        return Finding(
            check="divergence",
            verdict=Verdict.PASS,
            measured=f"loss {start:.4g} -> {losses[-1]:.4g}",
            expected="finite, and not above where it started",
            source=SOURCE,
        )
    finite = [loss for loss in losses if math.isfinite(loss)]
    fell = bool(finite) and min(finite) < 0.97 * start
    step = last.step if last.diverged_at is None else last.diverged_at
    end = f"not finite from step {step}" if broken else f"{losses[-1]:.4g}"
    course = f"fell to {min(finite):.4g}, then {end}" if fell else f"{start:.4g}, then {end}"
    first = "" if last.origin is None else f"; {last.origin}"
    reason = _reason(trained, last.origin)
    return Finding(
        check="divergence",
        verdict=Verdict.FAIL,
        measured=f"{'unstable' if fell else 'exploding'}: {course} (epoch {last.epoch}){first}",
        expected="a finite loss that falls",
        cause=reason.cause,
        confidence=reason.confidence,
        advice=reason.advice,
        source=SOURCE,
        where=reason.where,
    )


def _end_loss(record: EpochRecord) -> float:
    """The latest loss of an epoch: the validation's, or the training's where there is none."""
    if record.diverged_at is not None or record.validation is None:
        return math.nan
    return record.validation.loss


def _reason(trained: Trained, origin: Origin | None) -> Reason:
    if origin is None:
        return _of_evaluation(trained) or _of_settings(trained)
    if origin.place in (Place.INPUTS, Place.TARGETS):
        return Reason(
            Cause.NAN_INPUT,
            0.95,
            f"The {origin.place} of this batch hold NaN or infinity: drop or repair those "
            "examples, or look at the transform that makes them. One such number spreads to the "
            "loss, and from there to all weights.",
        )
    if origin.largest > OVERFLOWS:
        if origin.step > 0:
            return _of_settings(trained)
        return Reason(
            Cause.EXPLODING_ACTIVATIONS,
            0.9,
            f"No step had been taken yet, and the signal was {origin.largest:.1g} large: scale "
            "the weights by their fan-in (init: kaiming_normal), or add a norm. It grows from "
            "layer to layer until it overflows.",
        )
    return _undefined(origin)


def _of_settings(trained: Trained) -> Reason:
    """The steps were too large; or dropout, which scales up what it leaves, made them so."""
    conditions = trained.conditions
    if conditions.dropout >= STRONG_DROPOUT:
        return too_much_dropout(conditions, confidence=0.7)
    return too_large_steps(trained, confidence=0.8)


def _of_evaluation(trained: Trained) -> Reason | None:
    """Training stayed finite, and its evaluation was not."""
    last = trained.last
    if last.diverged_at is not None or not math.isfinite(last.train_loss):
        return None
    if last.train_loss > 3 * abs(trained.start_loss):
        return None
    return Reason(
        Cause.NON_FINITE,
        0.5,
        "Only the validation loss is not finite: look for NaN in the validation split, and for an "
        "operation that differs in eval mode.",
    )


def _undefined(origin: Origin) -> Reason:
    """What preceded it was of moderate size: it did not overflow, but is undefined there."""
    if origin.place is Place.GRADIENT:
        return Reason(
            Cause.NAN_GRADIENT_OP,
            0.95 if origin.step == 0 else 0.85,
            f"The derivative of {origin.operation or 'an operation'} is not finite at a value that "
            "occurs, though its result is: sqrt, norm and pow at zero, or a where with an "
            "undefined branch. Add a small constant inside (torch.sqrt(x + 1e-8)), or clamp first.",
            where=origin.code,
        )
    if origin.place is Place.UPDATE:
        advice = (
            f"The gradients are finite and the update of {origin.layer} is not: look at the "
            "optimizer's denominator (optimizer.eps) and at weights that are set by hand."
        )
    else:
        part = "The loss" if origin.place is Place.LOSS else origin.layer
        advice = (
            f"{part} gives NaN or infinity for figures of moderate size: look for log, a division "
            "or exp, and use the stable form (log_softmax, logsumexp, BCEWithLogitsLoss) or clamp "
            "its argument."
        )
    return Reason(Cause.NON_FINITE, 0.7, advice, where=origin.code)
