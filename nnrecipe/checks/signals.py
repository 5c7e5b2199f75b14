"""Verdicts on an untrained network's signals: do they keep their size, forth and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.signals import Signal

SOURCE = "lecture: weight initialization"
LARGEST_CHANGE = 1e3
"""From the first hidden layer to the last, a signal may grow or shrink by this factor."""
LARGEST_SHARE = 0.5
"""Of a layer's values may be saturated, or of its ReLUs silent for every example."""
NOT_FINITE = (
    "NaN or infinity is there from the start: look for it in the inputs, and at the size of the "
    "initial weights."
)


def judge_signals(layers: Sequence[Signal]) -> Iterator[Finding]:
    """What the signals of a recipe's own network say of its initial weights.

    They are symptoms, and so never more than a warning: many a network learns in spite of them.
    """
    hidden = layers[:-1]
    if hidden:
        yield _saturation(hidden)
    if len(hidden) > 1:
        yield _activations(hidden)
    upstream = _upstream(hidden)
    if len(upstream) > 1:
        yield _gradients(upstream)


def _upstream(hidden: Sequence[Signal]) -> Sequence[Signal]:
    """The layers that a gradient comes back to, the last of which gets some of it.

    None comes back to frozen layers, and one of zero to a branch that starts switched off or from a
    head whose weights start at zero: that says nothing of what lies between.
    """
    reached = [layer for layer in hidden if layer.reached]
    while reached and reached[-1].gradient == 0:
        reached.pop()
    return reached


def _activations(hidden: Sequence[Signal]) -> Finding:
    first, last = hidden[0].std, hidden[-1].std
    change = last / first if first else 0.0
    cause, advice = None, ""
    if not math.isfinite(first):
        cause, advice = Cause.NON_FINITE, NOT_FINITE
    elif change < 1 / LARGEST_CHANGE:
        cause = Cause.INIT_TOO_SMALL
        advice = (
            "The signal dies out on its way, and the last layers see nothing of the input: scale "
            "the weights by their fan-in (init: kaiming_normal or xavier_normal), or add a norm."
        )
    elif not change <= LARGEST_CHANGE:
        cause = Cause.EXPLODING_ACTIVATIONS
        advice = (
            "The signal grows from layer to layer: scale the weights by their fan-in (init: "
            "kaiming_normal or xavier_normal), or add a norm."
        )
    return _finding(
        "activations",
        f"spread {first:.3g} in {hidden[0].path}, {last:.3g} in {hidden[-1].path}: x {change:.3g}",
        f"between x {1 / LARGEST_CHANGE:g} and x {LARGEST_CHANGE:g}",
        cause,
        advice,
    )


def _saturation(hidden: Sequence[Signal]) -> Finding:
    worst = max(hidden, key=lambda layer: layer.saturated)
    cause, advice = None, ""
    if worst.saturated > LARGEST_SHARE:
        silent = "ReLU" in worst.layer
        cause = Cause.DEAD_RELU if silent else Cause.SATURATED_UNITS
        advice = (
            "Units that are zero for every example pass no gradient: start the biases at zero and "
            "the weights by init: kaiming_normal."
            if silent
            else "At the ends of its range a unit passes next to no gradient: make the initial "
            "weights smaller (init: xavier_normal), or use relu."
        )
    return _finding(
        "saturation",
        f"{worst.saturated:.0%} saturated or silent at most, in {worst.path} ({worst.layer})",
        f"below {LARGEST_SHARE:.0%}",
        cause,
        advice,
    )


def _gradients(hidden: Sequence[Signal]) -> Finding:
    first, last = hidden[0].gradient, hidden[-1].gradient
    change = first / last
    cause, advice = None, ""
    if not math.isfinite(last):
        cause, advice = Cause.NON_FINITE, NOT_FINITE
    elif change < 1 / LARGEST_CHANGE:
        cause = Cause.VANISHING_GRADIENT
        advice = (
            "The first layers learn next to nothing: use relu instead of a saturating "
            "nonlinearity, init: kaiming_normal, a norm, or shortcuts (architecture: resnet)."
        )
    elif not change <= LARGEST_CHANGE:
        cause = Cause.EXPLODING_GRADIENT
        advice = "Scale the weights by their fan-in (init: kaiming_normal), add a norm, or clip."
    return _finding(
        "gradients",
        f"{last:.3g} in {hidden[-1].path}, {first:.3g} in {hidden[0].path}: x {change:.3g}",
        f"between x {1 / LARGEST_CHANGE:g} and x {LARGEST_CHANGE:g}",
        cause,
        advice,
    )


def _finding(check: str, measured: str, expected: str, cause: Cause | None, advice: str) -> Finding:
    return Finding(
        check=check,
        verdict=Verdict.PASS if cause is None else Verdict.WARN,
        measured=measured,
        expected=expected,
        cause=cause,
        confidence=0.0 if cause is None else 0.5,
        advice=advice,
        source=SOURCE,
    )
