"""What the layers show while they train: updates, dead and saturated units, gradients by depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from nnrecipe.checks.history.reasons import Reason, too_large_steps
from nnrecipe.checks.history.settings import reason_of, root, suspect_setting
from nnrecipe.checks.history.trained import LEAST_SAMPLES, Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict

RATIO_BAND = (1e-5, 1e-1)
"""Update over weight, in the median over a training, that gives no reason to look."""
LARGEST_SHARE = 0.5
"""Of a layer's units may be dead, or of its values saturated."""
VANISHED = (1e-3, 1e-4)
"""The first layer's gradient, relative to the last one's and by itself, that has vanished."""
EXPLODED = 70.0
"""The first layer's gradient, relative to the last one's, that has exploded."""
DOUBLINGS = 5
"""Samples in a row that each double a gradient's norm."""


def judge_ratio(trained: Trained) -> Iterator[Finding]:
    """The size of an update relative to its weight, in the median."""
    ratio = trained.median_ratio
    if ratio is None:
        return
    low, high = RATIO_BAND
    reason = None if low <= ratio <= high else _odd_ratio(trained, ratio)
    yield Finding(
        check="update_ratio",
        verdict=Verdict.PASS if reason is None else Verdict.WARN,
        measured=f"median {ratio:.2g}",
        expected=f"about 1e-3 ({low:g} ... {high:g})",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else 0.4,
        advice="" if reason is None else reason.advice,
        source="lecture: monitoring, ratio of update to weight",
    )


def _odd_ratio(trained: Trained, ratio: float) -> Reason:
    """The setting that makes it so, if one is odd; else the rate."""
    suspect = suspect_setting(trained)
    if suspect is not None:
        return reason_of(suspect, trained, confidence=0.4)
    found = root(trained) if trained.is_poor else None
    return found or Reason(
        Cause.LR_TOO_LOW if ratio < RATIO_BAND[0] else Cause.LR_TOO_HIGH,
        0.4,
        f"Change optimizer.lr (now {trained.learning_rate:g}) by the factor that brings the ratio "
        "near 1e-3: it says how far a step goes on the scale of the weights.",
    )


def judge_dead(trained: Trained) -> Iterator[Finding]:
    """ReLUs that are silent for a whole batch, at the end of the training."""
    yield from _stuck_units(
        trained,
        "dead_units",
        "units of {} are zero for a whole batch",
        (trained.dead_at_the_start, trained.dead_at_the_end),
        Reason(
            Cause.DEAD_RELU,
            0.7,
            "Start the biases at zero and the weights by init: kaiming_normal: these units were "
            "below zero for every example from the start, and no gradient reaches them.",
        ),
    )


def judge_saturation(trained: Trained) -> Iterator[Finding]:
    """Values of tanh and sigmoid at the ends of their range, at the end of the training."""
    yield from _stuck_units(
        trained,
        "saturated_units",
        "values of {} are at the ends of their range",
        (trained.saturated_at_the_start, trained.saturated_at_the_end),
        Reason(
            Cause.SATURATED_UNITS,
            0.6,
            "Make the initial weights smaller (init: xavier_normal), or use relu: at the ends of "
            "its range a unit passes next to no gradient.",
        ),
    )


def _stuck_units(
    trained: Trained,
    check: str,
    what: str,
    shares: tuple[dict[str, float], dict[str, float]],
    own: Reason,
) -> Iterator[Finding]:
    """Units that pass no gradient: many a sound network has some, and so learning is what counts.

    Those that were stuck from the start are a cause of their own. Where the training made them so,
    it is its steps that did it, or what else is odd about it.
    """
    start, end = shares
    if not end:
        return
    path = max(end, key=lambda layer: end[layer])
    before = start.get(path, 0.0)
    reason = None
    if end[path] > LARGEST_SHARE and trained.is_poor:
        made = root(trained) or too_large_steps(trained, confidence=0.4)
        reason = own if before > LARGEST_SHARE else made
    yield Finding(
        check=check,
        verdict=_gravity(trained, bad=reason is not None),
        measured=f"{end[path]:.0%} of the {what.format(path)} at the end, {before:.0%} at the "
        "start",
        expected=f"below {LARGEST_SHARE:.0%}, or a network that learns nonetheless",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="lecture: activation functions",
    )


def judge_gradients(trained: Trained) -> Iterator[Finding]:
    """The gradients of the first weights against those of the last, over the samples."""
    norms = [list(r.gradient_norm.values()) for _, r in trained.readings]
    norms = [values for values in norms if len(values) > 2 and all(map(math.isfinite, values))]
    if len(norms) < LEAST_SAMPLES:
        return
    first = median(values[0] for values in norms)
    last = median(values[-1] for values in norms)
    ratio = first / last if last else math.inf
    relative, absolute = VANISHED
    doubles = _doublings([sum(values) for values in norms]) >= DOUBLINGS
    cause, advice = None, ""
    odd = trained.is_poor and root(trained) is None  # else it is what that setting brings about
    if odd and first < relative * last and first < absolute:
        cause = Cause.VANISHING_GRADIENT
        advice = (
            "The first layers learn next to nothing: use relu instead of a saturating "
            "nonlinearity, init: kaiming_normal, a norm, or shortcuts (architecture: resnet)."
        )
    elif odd and last > 0 and (ratio > EXPLODED or doubles):
        cause = Cause.EXPLODING_GRADIENT
        advice = "Scale the weights by their fan-in (init: kaiming_normal), add a norm, or clip."
    yield Finding(
        check="gradients_by_depth",
        verdict=_gravity(trained, bad=cause is not None),
        measured=f"norm {first:.2g} in the first weights, {last:.2g} in the last, in the median"
        + (f"; doubled {DOUBLINGS} times in a row" if doubles else ""),
        expected=f"a ratio between {relative:g} and {EXPLODED:g}, or a network that learns "
        "nonetheless",
        cause=cause,
        confidence=0.0 if cause is None else 0.6,
        advice=advice,
        source="AutoTrainer (Zhang et al. 2021), table 1",
    )


def _gravity(trained: Trained, *, bad: bool) -> Verdict:
    """A symptom alone is a warning, with a failed outcome it is a failure."""
    if not bad:
        return Verdict.PASS
    return Verdict.FAIL if trained.is_stuck else Verdict.WARN


def _doublings(values: Sequence[float]) -> int:
    """The longest run of values that are each at least twice the one before."""
    longest = run = 0
    for before, after in pairwise(values):
        run = run + 1 if after >= 2 * before > 0 else 0
        longest = max(longest, run)
    return longest
