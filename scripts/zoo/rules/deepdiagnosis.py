"""DeepDiagnosis: eight symptoms and what to change (Wardat et al., ICSE 2022, algorithm 1, fig. 4).

It stops at the first symptom, and a decision tree picks the change. In PyTorch cross-entropy takes
logits, so a last layer without activation is right, and only one with an activation out of range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from zoo.figures import Snapshot
from zoo.telemetry import Telemetry

WINDOW = 5  # epochs over which something must change
LONG_WINDOW = 20  # epochs over which the accuracy must change
DEAD_SHARE = 0.7  # outputs of a ReLU that are not positive
SATURATED_SHARE = 0.5  # inputs of a tanh or sigmoid beyond 5
VANISHED = 1e-7  # mean size of a gradient
POOR_VARIANCE = (1e-5, 10.0)
RATE = 1e-3  # usual ratio of an update to its weights
RATE_FACTOR = 100.0

MEANINGS = {
    "change_last_activation": ("double_softmax", "relu_logits", "sigmoid_logits"),
    "poor_weights": ("zero_init", "constant_init", "init_too_large", "init_too_small"),
    "normalize_data": ("input_unscaled", "nan_input", "double_scaling", "constant_input"),
    "learning_rate": (
        "lr_too_high", "lr_too_low", "adam_eps", "momentum_too_high", "schedule_too_fast",
    ),
    "change_loss": ("loss_mismatch", "missing_log_softmax", "sign_flipped"),
    "change_activation": (
        "dead_relu", "saturated_units", "saturating_depth", "vanishing_gradient",
        "no_nonlinearity", "exploding_activations", "exploding_gradient",
    ),
    "change_layers": ("vanishing_gradient", "saturating_depth", "too_deep"),
    "change_optimizer": ("lr_too_high", "lr_too_low", "adam_eps", "momentum_too_high"),
}  # fmt: skip
OUT_OF_RANGE = (nn.Softmax, nn.Sigmoid, nn.ReLU, nn.Tanh)


def fired(seen: Telemetry) -> list[str]:
    """The change that the first symptom leads to."""
    if isinstance(seen.layers[-1], OUT_OF_RANGE):
        return ["change_last_activation"]
    for epoch in range(len(seen.train_loss)):
        symptom = _symptom(seen, epoch)
        if symptom:
            return [_change(symptom, seen, epoch)]
    return []


def _symptom(seen: Telemetry, epoch: int) -> str | None:
    """The first of the symptoms of one epoch, in the tool's order."""
    now = seen.epochs[epoch]
    last, full = epoch == seen.planned_epochs - 1, (epoch + 1) % WINDOW == 0
    recent = slice(epoch + 1 - WINDOW, epoch + 1)
    if any(_numerical(mean) for mean in now.layer_means.values()):
        return "numerical_forward"
    relus = [a for a in now.activations.values() if a.kind is nn.ReLU]
    if last and any(a.inactive >= DEAD_SHARE for a in relus):
        return "dead_node"
    bounded = [a for a in now.activations.values() if a.kind in (nn.Tanh, nn.Sigmoid)]
    if full and any(a.beyond_5 > SATURATED_SHARE for a in bounded):
        return "saturated_activation"
    if full and any(_same([s.layer_means[name] for s in seen.epochs[recent]])
                    for name in list(now.layer_means)[:-1]):  # fmt: skip
        return "unchanged_forward"
    if not math.isfinite(seen.train_loss[epoch]):
        return "invalid_loss"
    if full and _same(seen.train_loss[recent]):
        return "loss_not_decreasing"
    if seen.train_accuracy[epoch] == 0:
        return "invalid_accuracy"
    if (epoch + 1) % LONG_WINDOW == 0 and _same(seen.train_accuracy[-LONG_WINDOW:]):
        return "accuracy_not_increasing"
    return _weight_symptom(seen, now, recent if full else slice(0))


def _weight_symptom(seen: Telemetry, now: Snapshot, recent: slice) -> str | None:
    for path, gradient in reversed(now.gradients.items()):
        if not gradient.finite or gradient.mean == 0:
            is_last = path == list(now.gradients)[-1]
            return "numerical_last_gradient" if is_last else "numerical_gradient"
        if gradient.mean_size < VANISHED:
            return "vanishing_gradient"
    if any(not weight.finite or weight.mean == 0 for weight in now.weights.values()):
        return "numerical_weight"
    history = seen.epochs[recent]
    if any(_same([s.gradients[path].mean for s in history]) for path in now.gradients):
        return "unchanged_weight"
    if any(_same([s.weights[path].mean for s in history]) for path in now.weights):
        return "unchanged_weight"
    return None


def _change(symptom: str, seen: Telemetry, epoch: int) -> str:
    """The decision tree: weights, then data, then the learning rate, then what is left."""
    now = seen.epochs[epoch]
    if symptom == "numerical_last_gradient":
        return "change_loss"
    if symptom == "numerical_gradient":
        return "change_activation"
    if symptom in ("invalid_loss", "invalid_accuracy"):
        return "learning_rate" if _unusual_rate(now, seen) else "change_optimizer"
    if symptom == "vanishing_gradient":
        return "learning_rate" if _unusual_rate(now, seen) else "change_layers"
    low, high = POOR_VARIANCE
    data = min(seen.images_range) < -1 or max(seen.images_range) > 1
    poor = any(not low <= weight.variance <= high for weight in now.weights.values())
    questions = [("poor_weights", poor), ("normalize_data", data),
                 ("learning_rate", _unusual_rate(now, seen))]  # fmt: skip
    if symptom in ("dead_node", "saturated_activation"):
        questions[0], questions[1] = questions[1], questions[0]
    if symptom.startswith("unchanged"):
        del questions[1]
    rest = "change_activation" if symptom.startswith(("numerical", "dead", "satur")) else (
        "change_optimizer"
    )  # fmt: skip
    return next((answer for answer, yes in questions if yes), rest)


def _unusual_rate(now: Snapshot, seen: Telemetry) -> bool:
    for path, gradient in now.gradients.items():
        ratio = seen.learning_rate * gradient.norm / (now.weights[path].norm or 1.0)
        if not RATE / RATE_FACTOR <= ratio <= RATE * RATE_FACTOR:
            return True
    return False


def _numerical(value: float) -> bool:
    return not math.isfinite(value) or value == 0


def _same(values: Sequence[float]) -> bool:
    return len(values) > 1 and min(values) == max(values)
