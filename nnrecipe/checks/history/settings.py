"""Settings that hold a training back: too small a step, or too strong a pull at the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nnrecipe.checks.history.reasons import HEAVY, Reason, too_large_steps, too_much_dropout
from nnrecipe.checks.history.trained import Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.further import USUAL_EPS, Suspect

CLIPPED = 0.02
"""What clipping may leave of a gradient; less, in the median, is a learning rate of its own."""
DAMPED = 0.5
"""The share of an adaptive optimizer's denominator that may be its eps."""
LARGE_EPS = 1e-6
"""Below it, an eps is no setting to blame: a gradient is that small only where none arrives."""
DECAYED = 0.01
"""A learning rate, relative to its highest, at which a schedule has ended all learning."""
EARLY = 1 / 3
"""The share of the training before which it is too early for that."""
SHRUNK = 0.3
"""Of their initial norms the weights are left with, where a penalty has taken over."""
PULLED = 0.9
"""The same, from which it is worth trying without decay."""
LARGE_STEP = 0.3
"""An update, relative to its weight and in the median over the weights, that wrecks a network."""
GROWTH = 10.0
"""By so much the weights' norms may grow in a training, in the median."""
STRONG_DROPOUT = 0.7
"""A drop probability that leaves too few units in a step."""
DEAD = 0.95
"""The share of a layer's units whose death cuts off all layers before it."""
TINY = 1e-4
"""Updates, relative to the weights, that lead nowhere in a training of usual length."""
GAIN = 0.03
"""What a score gains in validation without a setting that is odd by itself, enough to warn."""
DECAY_GAIN = 0.05
"""The same without decay, which is nothing odd."""
LARGE_GAIN = 0.1
"""And enough to call it a fault."""


def suspect_setting(trained: Trained) -> Suspect | None:
    """The setting that is worth trying to do without, if there is one."""
    conditions, factor, damping = trained.conditions, trained.clip_factor, trained.damping
    if conditions.momentum >= HEAVY:
        return Suspect.MOMENTUM
    if damping is not None and damping > DAMPED and conditions.eps > LARGE_EPS:
        return Suspect.EPS
    if factor is not None and factor < CLIPPED:
        return Suspect.CLIPPING
    if trained.rate_gone < EARLY:
        return Suspect.SCHEDULE
    if conditions.decays and trained.growth < PULLED:
        return Suspect.DECAY
    return None


def root(trained: Trained) -> Reason | None:
    """The setting that a training which learned little has to thank for it; None: none is odd."""
    suspect, conditions = suspect_setting(trained), trained.conditions
    if suspect is Suspect.DECAY and trained.growth > SHRUNK:
        suspect = None
    if suspect is not None:
        return reason_of(suspect, trained, confidence=0.85)
    if conditions.dropout >= STRONG_DROPOUT:
        return too_much_dropout(conditions, confidence=0.7)
    if trained.largest_ratio > LARGE_STEP or trained.growth > GROWTH:
        return too_large_steps(trained, confidence=0.8)
    ratio = trained.median_ratio
    if ratio is None or ratio >= TINY or _is_dead(trained):
        return None
    return small_steps(trained)


def small_steps(trained: Trained) -> Reason:
    """The rate, where updates are tiny and nothing else makes them so."""
    return Reason(
        Cause.LR_TOO_LOW,
        0.85,
        f"Raise optimizer.lr (now {trained.learning_rate:g}): the weights change by "
        f"{trained.median_ratio:.1g} of their size in a step, where about 1e-3 is usual.",
    )


def _is_dead(trained: Trained) -> bool:
    """Whether a layer passes no gradient, so that any rate would take small steps."""
    return max(trained.dead_at_the_end.values(), default=0.0) > DEAD


def judge_settings(trained: Trained) -> Iterator[Finding]:
    """What the training gained when it went on without a suspect setting."""
    trial, validation = trained.further, trained.last.validation
    if trial is None or trial.suspect is Suspect.LENGTH or validation is None:
        return
    name, before = validation.headline
    _, after = trial.ended.headline
    gain = after - before if math.isfinite(after - before) else 0.0
    least = DECAY_GAIN if trial.suspect is Suspect.DECAY else GAIN
    some, much = (max(figure, 2 * trained.noise) for figure in (least, LARGE_GAIN))
    reason = reason_of(trial.suspect, trained, confidence=0.9) if gain > some else None
    verdict = Verdict.PASS if reason is None else Verdict.WARN
    yield Finding(
        check=f"without_{trial.suspect}",
        verdict=Verdict.FAIL if gain > much else verdict,
        measured=f"{_measured(trial.suspect, trained)}; {trial.steps} steps without that take "
        f"{name} in validation from {before:.3f} to {after:.3f}",
        expected=f"a gain below {some:.3f}",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="lecture: babysitting the learning process",
    )


def _measured(suspect: Suspect, trained: Trained) -> str:
    conditions = trained.conditions
    match suspect:
        case Suspect.MOMENTUM:
            return f"momentum {conditions.momentum:g}"
        case Suspect.EPS:
            return f"eps {conditions.eps:g} is {trained.damping:.0%} of the denominator"
        case Suspect.CLIPPING:
            return f"clipping leaves {trained.clip_factor:.2g} of a gradient"
        case Suspect.SCHEDULE:
            return f"the rate is gone after {trained.rate_gone:.0%} of the steps"
        case Suspect.DECAY:
            return f"the weights are down to {trained.growth:.0%} of their norms"
        case Suspect.LENGTH:
            return f"{trained.last.step} steps"


def reason_of(suspect: Suspect, trained: Trained, *, confidence: float) -> Reason:
    """The cause that a suspect stands for, and what to do about it."""
    match suspect:
        case Suspect.MOMENTUM:
            return too_large_steps(trained, confidence=confidence)
        case Suspect.EPS:
            cause = Cause.ADAM_EPS
            advice = (
                f"Set optimizer.eps to {USUAL_EPS:g} (now {trained.conditions.eps:g}): it "
                "outweighs the gradients' own size in the denominator, so steps shrink with them."
            )
        case Suspect.CLIPPING:
            cause = Cause.CLIP_TOO_SMALL
            advice = (
                "Raise training.clip_norm (1.0 is usual) or leave clipping out: it cuts nearly "
                "every gradient to a fraction of its size, which is a lower learning rate in "
                "disguise."
            )
        case Suspect.SCHEDULE:
            cause = Cause.SCHEDULE_TOO_FAST
            advice = (
                "Let the learning rate fall more slowly (scheduler: cosine spans the whole "
                "training): it was below a hundredth of its peak when most of the training was "
                "still to come."
            )
        case _:
            cause = Cause.OVER_REGULARIZED
            advice = (
                "Lower optimizer.weight_decay, regularization.l2 or l1 (1e-4 is usual): the "
                "pull towards zero outweighs what the loss asks for, and the weights vanish."
            )
    return Reason(cause, confidence, advice)
