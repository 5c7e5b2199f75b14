"""UMLAUT: heuristics on the model, the inputs and each epoch (Schoop et al., CHI 2021, table 1)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from zoo.telemetry import Telemetry

INPUT_RANGE = (-1.0, 1.0)
RATES = (1e-7, 0.01)
HIGH_ACCURACY = 0.95
JUDGED_FROM = 3  # epochs before which the validation accuracy is taken for noise
DROPOUT = 0.5

MEANINGS = {
    "nan_input": ("nan_input",),
    "nan_loss": ("non_finite", "lr_too_high", "nan_gradient_op", "exploding_gradient", "nan_input"),
    "missing_activations": ("no_nonlinearity",),
    "no_softmax": ("missing_log_softmax", "loss_mismatch"),
    "last_layer_activation": ("relu_logits", "sigmoid_logits", "double_softmax"),
    "input_not_normalized": ("input_unscaled",),
    "high_dropout": ("dropout_too_high",),
    "learning_rate_high": ("lr_too_high",),
    "learning_rate_low": ("lr_too_low",),
    "overfitting": ("overfitting", "too_little_data"),
    "suspicious_validation_accuracy": ("leakage",),
}
LINEAR = (nn.Linear, nn.Conv2d)
NONLINEAR = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.LeakyReLU, nn.ELU, nn.SiLU)


def fired(seen: Telemetry) -> list[str]:
    """The rules that fire: those it calls critical first, then errors, then warnings."""
    low, high = seen.images_range
    verdicts = {
        "nan_input": not seen.images.finite,
        "nan_loss": any(math.isnan(loss) for loss in seen.train_loss),
        "missing_activations": _missing_activations(seen.layers),
        "no_softmax": not seen.takes_logits and not seen.ends_in_probabilities,
        "input_not_normalized": low < INPUT_RANGE[0] or high > INPUT_RANGE[1],
        "last_layer_activation": isinstance(seen.layers[-1], NONLINEAR),
        "high_dropout": any(m.p > DROPOUT for m in seen.layers if isinstance(m, nn.Dropout)),
        "learning_rate_high": seen.learning_rate > RATES[1],
        "learning_rate_low": seen.learning_rate < RATES[0],
        "overfitting": _overfitting(seen),
        "suspicious_validation_accuracy": _suspicious(seen),
    }
    return [name for name, fires in verdicts.items() if fires]


def _missing_activations(layers: list[nn.Module]) -> bool:
    """Whether two layers with weights follow each other with no nonlinearity in between."""
    chain = [m for m in layers if isinstance(m, (*LINEAR, *NONLINEAR))]
    return any(isinstance(a, LINEAR) and isinstance(b, LINEAR) for a, b in pairwise(chain))


def _overfitting(seen: Telemetry) -> bool:
    """Whether in an epoch the validation loss rose and the training loss did not."""
    steps = zip(pairwise(seen.train_loss), pairwise(seen.val_loss), strict=True)
    return any(train[1] <= train[0] and val[1] > val[0] for train, val in steps)


def _suspicious(seen: Telemetry) -> bool:
    pairs = list(zip(seen.train_accuracy, seen.val_accuracy, strict=True))
    return any(val > HIGH_ACCURACY or val > train for train, val in pairs[JUDGED_FROM:])
