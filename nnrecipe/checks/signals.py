"""Verdicts on an untrained network's signals: do they keep their size, forth and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.signals import Signal

SOURCE = "lecture: weight initialization"
LARGEST_CHANGE = 1e3
"""From the first hidden layer to the last, a signal may grow or shrink by this factor."""
LARGEST_SHARE = 0.6
"""Of a layer's values may be saturated, or of its ReLUs silent for every example."""
DEEP = 15
"""Hidden layers from which small losses in each make a large one."""
MILD = 0.25
"""Of the signal, in each layer, that torch's own initial weights leave at least."""
SQUASHING = ("Sigmoid", "Tanh")
SCALE = (
    "scale the weights by their fan-in (init: kaiming_normal, xavier_normal for tanh), or "
    "add a norm."
)
ADVICE = {
    Cause.NON_FINITE: "NaN or infinity is there from the start: look for it in the inputs, and at "
    "the size of the initial weights.",
    Cause.INIT_TOO_SMALL: "The initial weights are so small that the signal dies out on its way, "
    "and the gradient on its way back: " + SCALE,
    Cause.INIT_TOO_LARGE: "The initial weights are so large that the signal grows from layer to "
    "layer: " + SCALE,
    Cause.EXPLODING_ACTIVATIONS: "The signal grows from layer to layer, whatever the weights: look "
    "for factors in forward (a branch that is multiplied, say), or add a norm after each sum.",
    Cause.EXPLODING_GRADIENT: "The gradient grows from layer to layer on its way back: " + SCALE,
    Cause.VANISHING_GRADIENT: "The first layers learn next to nothing: use relu instead of a "
    "saturating nonlinearity, init: kaiming_normal, a norm, or shortcuts (architecture: resnet).",
    Cause.SATURATING_DEPTH: "A sigmoid passes at most a quarter of the gradient, and so many in a "
    "row pass none: use relu (architecture.activation: relu) with init: kaiming_normal, or fewer "
    "layers.",
    Cause.TOO_DEEP: "So many layers in a row pass next to nothing on: use fewer, shortcuts "
    "(architecture: resnet), or a norm (norm: batch) with init: kaiming_normal.",
    Cause.DEAD_RELU: "Units that are zero for every example pass no gradient: start the biases at "
    "zero and the weights by init: kaiming_normal.",
    Cause.SATURATED_UNITS: "At the ends of its range a unit passes next to no gradient: make the "
    "initial weights smaller (init: xavier_normal), or use relu.",
}

Redrawn = Callable[[], Sequence[Signal]]
"""The signals of the same network with weights that are scaled by their fan-in."""


def judge_signals(layers: Sequence[Signal], redrawn: Redrawn | None = None) -> Iterator[Finding]:
    """What the signals of a recipe's own network say of it, before the first step.

    They are symptoms, and so no more than a warning, unless nothing gets through at all: many a
    network learns in spite of them. Whether weights or layers are at fault, the same network with
    other weights tells.
    """
    hidden = layers[:-1]
    if not hidden:
        return
    again = _Once(redrawn)
    yield _saturation(layers, again)
    if len(hidden) > 1:
        yield _activations(layers, again)
        if not math.isnan(_backward(layers)):
            yield _gradients(layers, again)


@dataclass
class _Once:
    """The counterfactual, made when first asked for."""

    make: Redrawn | None
    made: Sequence[Signal] | None = None

    def cures(self, ails: Callable[[Sequence[Signal]], bool]) -> bool | None:
        """Whether the symptom is gone with other weights; None if that can't be tried."""
        if self.make is None:
            return None
        if self.made is None:
            self.made = self.make()
        return not ails(self.made)


def _forward(layers: Sequence[Signal]) -> float:
    """The size of what the last layer is given, over the spread of the first layer's values."""
    first = layers[0].std
    return layers[-1].given.size / first if first else 0.0


def _kept(layers: Sequence[Signal]) -> float:
    """How much of what the last layer is given tells the examples apart, over that of the first."""
    first, last = layers[0].given, layers[-1].given
    if not first.variation > 0:
        return 1.0  # the examples are all the same
    return (last.variation / last.size if last.size else 0.0) / (first.variation / first.size)


def _backward(layers: Sequence[Signal]) -> float:
    """The gradient that the first layers get, over that by what the last layer is given.

    Both are norms by one example's values. The largest of the first quarter of the layers counts,
    because a branch may start switched off. NaN where the last layer passes none back, being zero
    itself, and where the first layers are frozen.
    """
    reached = [layer for layer in layers[:-1] if layer.reached]
    last = layers[-1].given.gradient
    if len(reached) < 2 or last == 0:
        return math.nan
    early = reached[: max(1, len(reached) // 4)]
    return max(layer.gradient_norm for layer in early) / last if math.isfinite(last) else math.inf


def _fades(layers: Sequence[Signal]) -> bool:
    return _forward(layers) < 1 / LARGEST_CHANGE or _kept(layers) < 1 / LARGEST_CHANGE


def _grows(layers: Sequence[Signal]) -> bool:
    return not _forward(layers) <= LARGEST_CHANGE


def _vanishes(layers: Sequence[Signal]) -> bool:
    return _backward(layers) < 1 / LARGEST_CHANGE


def _explodes(layers: Sequence[Signal]) -> bool:
    return _backward(layers) > LARGEST_CHANGE


def _activations(layers: Sequence[Signal], again: _Once) -> Finding:
    size, kept = _forward(layers), _kept(layers)
    cause, confidence = None, 0.0
    if not math.isfinite(layers[0].std):
        cause, confidence = Cause.NON_FINITE, 0.5
    elif _fades(layers):
        cause, confidence = _why_less(layers, again, _fades, min(size, kept), Cause.INIT_TOO_SMALL)
    elif _grows(layers):
        cause, confidence = _why_more(again, _grows, Cause.EXPLODING_ACTIVATIONS)
    return _finding(
        "activations",
        f"spread {layers[0].std:.3g} in {layers[0].path}, {layers[-1].given.size:.3g} before "
        f"{layers[-1].path}: x {size:.3g}; {min(kept, 1):.2g} of what tells examples apart is left",
        f"between x {1 / LARGEST_CHANGE:g} and x {LARGEST_CHANGE:g}",
        cause,
        confidence,
    )


def _gradients(layers: Sequence[Signal], again: _Once) -> Finding:
    change = _backward(layers)
    cause, confidence = None, 0.0
    if not math.isfinite(layers[-1].given.gradient):
        cause, confidence = Cause.NON_FINITE, 0.5
    elif _vanishes(layers):
        cause, confidence = _why_less(layers, again, _vanishes, change, Cause.VANISHING_GRADIENT)
    elif _explodes(layers):
        cause, confidence = _why_more(again, _explodes, Cause.EXPLODING_GRADIENT)
    return _finding(
        "gradients",
        f"{layers[-1].given.gradient:.3g} before {layers[-1].path}, x {change:.3g} in the first "
        "layers",
        f"between x {1 / LARGEST_CHANGE:g} and x {LARGEST_CHANGE:g}",
        cause,
        confidence,
    )


def _why_less(
    layers: Sequence[Signal],
    again: _Once,
    ails: Callable[[Sequence[Signal]], bool],
    change: float,
    otherwise: Cause,
) -> tuple[Cause, float]:
    """Why a signal gets lost on its way through `layers`, and how sure that is."""
    depth = len(layers) - 1
    squashing = sum(layer.nonlinearity in SQUASHING for layer in layers) > depth / 2
    cured = again.cures(ails)
    if cured is None:
        return otherwise, 0.5
    if cured and depth >= DEEP and change ** (1 / depth) > MILD:
        return Cause.TOO_DEEP, 0.7  # no layer loses much, they are too many
    if cured and max(layer.saturated for layer in layers[:-1]) > LARGEST_SHARE:
        return otherwise, 0.5  # the finding on saturation says more
    if cured:
        return Cause.INIT_TOO_SMALL, 0.8
    if squashing:
        return Cause.SATURATING_DEPTH, 0.8
    return (Cause.TOO_DEEP, 0.8) if depth >= DEEP else (otherwise, 0.6)


def _why_more(
    again: _Once, ails: Callable[[Sequence[Signal]], bool], otherwise: Cause
) -> tuple[Cause, float]:
    """Why a signal grows: weights that are too large, or layers that amplify whatever they are."""
    cured = again.cures(ails)
    if cured is None:
        return otherwise, 0.5
    return (Cause.INIT_TOO_LARGE, 0.8) if cured else (otherwise, 0.8)


def _saturation(layers: Sequence[Signal], again: _Once) -> Finding:
    worst = max(layers[:-1], key=lambda layer: layer.saturated)
    cause, confidence, verdict = None, 0.0, Verdict.WARN
    if worst.saturated > LARGEST_SHARE:
        silent = worst.nonlinearity not in SQUASHING
        cause = Cause.DEAD_RELU if silent else Cause.SATURATED_UNITS
        confidence = 0.6 if worst.saturated > 0.9 else 0.5
        if _blocks(layers) and again.cures(_blocks):
            verdict, confidence = Verdict.FAIL, 0.9
    return _finding(
        "saturation",
        f"{worst.saturated:.0%} saturated or silent at most, in {worst.path} ({worst.layer})",
        f"below {LARGEST_SHARE:.0%}",
        cause,
        confidence,
        verdict,
    )


def _blocks(layers: Sequence[Signal]) -> bool:
    """Whether a layer is silent for every example, and there is no way around it."""
    return any(layer.saturated == 1 for layer in layers[:-1]) and _kept(layers) < 1e-6


def _finding(
    check: str,
    measured: str,
    expected: str,
    cause: Cause | None,
    confidence: float,
    verdict: Verdict = Verdict.WARN,
) -> Finding:
    return Finding(
        check=check,
        verdict=Verdict.PASS if cause is None else verdict,
        measured=measured,
        expected=expected,
        cause=cause,
        confidence=confidence,
        advice="" if cause is None else ADVICE[cause],
        source=SOURCE,
    )
