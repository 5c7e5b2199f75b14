"""Several tasks on one trunk: does one of them drown the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from nnrecipe.checks.history.trained import LEAST_SAMPLES, LEAST_STEPS, Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.trial import skills

SOURCE = "lecture: sub-losses of magnitude 1; Chen et al. 2018, section 3"
DOMINATES = 10.0
"""Times as large a gradient on what is shared, of a task beside which another hardly counts."""
LEARNED = 0.9
"""The skill from which a task needs no pull any more: its gradient may well be small."""
NOTHING = 0.05
"""The skill up to which a task has learned nothing."""


def judge_tasks(trained: Trained) -> Iterator[Finding]:
    """Whether some task has a tenth of another's gradient, or less, and isn't learned for it.

    A task that learned nothing may have a gradient that is large, as others throw it about; it is
    told by a weighted loss that began at a tenth of another's. Something learned makes it a
    warning, nothing a failure.
    """
    norms, learned = _norms(trained), _learned(trained)
    if len(norms) < 2 or not learned:
        return
    weak = _weak(norms)
    idle = {name for name in _weak(_starts(trained)) if learned[name] < NOTHING}
    drowned = [name for name in norms if name in weak | idle and learned[name] < LEARNED]
    nothing = [name for name in drowned if learned[name] < NOTHING]
    fails = bool(nothing) and trained.last.step >= LEAST_STEPS
    yield Finding(
        check="task_balance",
        verdict=Verdict.FAIL if fails else Verdict.WARN if drowned else Verdict.PASS,
        measured=_told(trained, norms, learned),
        expected=f"gradients within {DOMINATES:g} x of each other, or a skill of {LEARNED:g}",
        cause=Cause.LOSS_MISMATCH if drowned else None,
        confidence=0.0 if not drowned else 0.9 if fails else 0.6,
        advice="Let every loss start at 1 (loss.weights: auto), or raise the factor of what hardly "
        f"counts (loss.weights.factors: {', '.join(drowned)}): what the tasks share learns for "
        "the others."
        if drowned
        else "",
        source=SOURCE,
        change=("loss.weights=auto",) if drowned else (),
    )


def _weak(sizes: dict[str, float]) -> set[str]:
    """The tasks that have less than a tenth of the largest."""
    return {name for name, size in sizes.items() if size * DOMINATES < max(sizes.values())}


def _told(trained: Trained, norms: dict[str, float], learned: dict[str, float]) -> str:
    strongest, weakest = max(norms, key=norms.__getitem__), min(norms, key=norms.__getitem__)
    ratio = norms[strongest] / norms[weakest] if norms[weakest] else math.inf
    starts = ", ".join(f"{name} {size:.3g}" for name, size in _starts(trained).items())
    each = ", ".join(
        f"{name} {norm:.3g} (skill {learned[name]:.2f})" for name, norm in norms.items()
    )
    return (
        f"gradients on what the tasks share: {each}; {strongest} pulls {ratio:.3g} x as hard as "
        f"{weakest}; weighted losses at first: {starts}"
    )


def _learned(trained: Trained) -> dict[str, float]:
    """The best skill of each task in validation: an R2 may fall far from one epoch to the next."""
    epochs = [skills(validation, trained.outputs) for _, validation in trained.epochs()]
    return {name: max(of[name] for of in epochs) for name in epochs[0]} if epochs else {}


def _norms(trained: Trained) -> dict[str, float]:
    """Each task's gradient on what is shared, in the median over the samples; none of too few."""
    sampled = [reading.task_gradient for _, reading in trained.readings if reading.task_gradient]
    if len(sampled) < LEAST_SAMPLES:
        return {}
    return {name: median(norms[name] for norms in sampled) for name in sampled[0]}


def _starts(trained: Trained) -> dict[str, float]:
    """Each task's weighted loss in the first sample."""
    first = next(iter(trained.records[0].monitored.values()))
    return {name: abs(loss) * first.task_weight[name] for name, loss in first.task_loss.items()}
