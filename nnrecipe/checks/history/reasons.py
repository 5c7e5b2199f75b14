"""Why a training went wrong: a cause, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from nnrecipe.checks.history.trained import Conditions, Trained
from nnrecipe.core.causes import Cause

HEAVY = 0.98
"""The momentum from which a step is the sum of more than fifty gradients."""


@dataclass(frozen=True)
class Reason:
    """A cause, how sure it is, what to do, and the line of code to look at."""

    cause: Cause
    confidence: float
    advice: str
    where: str = ""


def too_large_steps(trained: Trained, *, confidence: float) -> Reason:
    """The steps were too large: by their momentum where that is extreme, else by the rate."""
    conditions, rate = trained.conditions, trained.learning_rate
    if conditions.momentum >= HEAVY:
        sums = 1 / max(1 - conditions.momentum, 1e-6)
        return Reason(
            Cause.MOMENTUM_TOO_HIGH,
            confidence,
            f"Lower the momentum (now {conditions.momentum:g}) to 0.9: a step sums up the last "
            f"{sums:.0f} gradients, so that it goes on long after they have turned.",
        )
    return Reason(
        Cause.LR_TOO_HIGH,
        confidence,
        f"Lower optimizer.lr (now {rate:g}), or let the probe choose with optimizer.lr: auto: "
        "each step overshoots, and the next one is larger.",
    )


def too_much_dropout(conditions: Conditions, *, confidence: float) -> Reason:
    """So few units are left in a step that it teaches the network little."""
    now = f" (now {conditions.dropout:g})" if conditions.dropout else ""
    return Reason(
        Cause.DROPOUT_TOO_HIGH,
        confidence,
        f"Lower the dropout{now} to 0.5 or less: so few units are left in a step that the network "
        "hardly learns from it.",
    )


def too_small_batches(conditions: Conditions, *, confidence: float) -> Reason:
    """Batch norms whose statistics are those of a few examples."""
    return Reason(
        Cause.BN_SMALL_BATCH,
        confidence,
        "Raise training.batch_size to 16 or more, or use norm: group, which needs no batch: the "
        f"mean of {conditions.norm_batch} examples is so noisy that it drowns what they are.",
    )
