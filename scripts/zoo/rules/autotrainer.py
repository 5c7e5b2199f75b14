"""AutoTrainer: five training problems (Zhang et al., ICSE 2021, table 2 and the tool's defaults).

It looks at accuracies, losses, and the weights' gradients on one batch, every three epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from zoo.telemetry import Telemetry

CHECK_EVERY = 3  # epochs
JUDGED_FROM = 0.3  # share of the epochs
SATISFIED = 0.7  # accuracy
VANISHING_RATIO, VANISHING_NORM, EXPLODING_RATIO = 1e-3, 1e-4, 70.0
DEAD_SHARE = 0.7  # zeros among the gradients
SWING, SWING_SHARE = 0.03, 0.2
SLOW = 0.01  # largest rise of an accuracy from epoch to epoch
HUGE_LOSS = 1e5

MEANINGS = {
    "gradient_explode": (
        "exploding_gradient", "exploding_activations", "init_too_large", "lr_too_high",
        "non_finite", "nan_input", "nan_gradient_op", "missing_log_softmax", "sign_flipped",
    ),
    "gradient_vanish": (
        "vanishing_gradient", "saturating_depth", "too_deep", "init_too_small", "saturated_units",
    ),
    "dying_relu": ("dead_relu",),
    "oscillating_loss": ("lr_too_high", "momentum_too_high", "bn_small_batch"),
    "slow_convergence": (
        "lr_too_low", "adam_eps", "underfitting", "undertrained", "schedule_too_fast",
        "clip_too_small", "zero_init", "constant_init",
    ),
}  # fmt: skip


def fired(seen: Telemetry) -> list[str]:
    """The first problem that it would stop at; it looks for no other then."""
    for epoch in range(len(seen.train_loss)):
        if epoch % CHECK_EVERY == 0:
            problem = _at(seen, epoch)
            if problem:
                return [problem]
    return []


def _at(seen: Telemetry, epoch: int) -> str | None:
    losses = (*seen.train_loss[: epoch + 1], *seen.val_loss[: epoch + 1])
    numbers = seen.epochs[epoch]
    tensors = (*numbers.weights.values(), *numbers.gradients.values())
    finite = all(map(math.isfinite, losses)) and all(tensor.finite for tensor in tensors)
    if not finite or seen.val_loss[epoch] >= HUGE_LOSS:
        return "gradient_explode"
    if epoch + 1 < JUDGED_FROM * seen.planned_epochs:
        return None

    train, val = seen.train_accuracy[: epoch + 1], seen.val_accuracy[: epoch + 1]
    slow = max(_largest_rise(train), _largest_rise(val)) < SLOW
    if slow or max(train) < SATISFIED or max(val) < SATISFIED:
        # What an epoch has shown stays on record until the end, as in the tool.
        shown = [symptom for index in range(0, epoch + 1, CHECK_EVERY)
                 for symptom in _gradients(seen, index)]  # fmt: skip
        for symptom in ("dying_relu", "gradient_explode", "gradient_vanish"):
            if symptom in shown:
                return symptom
        return "slow_convergence" if slow else None
    return "oscillating_loss" if _swings(train) >= SWING_SHARE * len(train) else None


def _gradients(seen: Telemetry, epoch: int) -> list[str]:
    gradients = list(seen.epochs[epoch].gradients.values())
    if not gradients:
        return []
    first, last = gradients[0].norm, gradients[-1].norm
    ratio = first / last if last else math.inf
    symptoms = []
    if sum(g.zeros for g in gradients) / len(gradients) >= DEAD_SHARE:
        symptoms.append("dying_relu")
    if ratio > EXPLODING_RATIO and last:
        symptoms.append("gradient_explode")
    if ratio < VANISHING_RATIO and first < VANISHING_NORM:
        symptoms.append("gradient_vanish")
    return symptoms


def _largest_rise(values: Sequence[float]) -> float:
    return max((b - a for a, b in pairwise(values)), default=0.0)


def _swings(values: Sequence[float]) -> int:
    """How many of the peaks lie at least `SWING` above the trough of the same number."""
    triples = list(zip(values, values[1:], values[2:], strict=False))
    peaks = [b for a, b, c in triples if b >= a and b >= c]
    troughs = [b for a, b, c in triples if b <= a and b <= c]
    return sum(peak - trough >= SWING for peak, trough in zip(peaks, troughs, strict=False))
