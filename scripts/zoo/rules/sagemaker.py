"""SageMaker Debugger: the built-in rules for deep learning, with the defaults of its manual.

Tensors are saved at the first ten steps and at the end of each epoch. Left out are the rules that
ask for something a run doesn't have (several runs, trees, tokens, a table of what to compare).
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from zoo.figures import Activation
from zoo.telemetry import Telemetry

VANISHED = 1e-7  # mean size of a gradient
UPDATES = (1e-8, 10.0)
UNCHANGED_STEPS = 3
DEAD_LAYER = SATURATED_LAYER = 0.5
VARIANCE_RATIO, GRADIENT_RANGE = 10.0, 1e-3
IMBALANCE, MISPREDICTED = 10.0, 0.7
LEAST_FALL, LARGEST_RISE = 0.001, 0.05
GAP = 0.1
INPUT_MEAN = 0.2

MEANINGS = {
    "ExplodingTensor": (
        "non_finite", "nan_input", "nan_gradient_op", "exploding_gradient",
        "exploding_activations", "lr_too_high",
    ),
    "VanishingGradient": (
        "vanishing_gradient", "saturating_depth", "too_deep", "detached_graph", "zero_init",
        "init_too_small", "input_ignored",
    ),
    "AllZero": ("zero_init", "constant_input", "input_ignored"),
    "UnchangedTensor": (
        "accidental_freeze", "detached_graph", "zero_init", "lr_too_low", "clip_too_small",
    ),
    "DeadRelu": ("dead_relu",),
    "SaturatedActivation": ("saturated_units", "saturating_depth"),
    "ClassImbalance": ("class_imbalance", "missing_class"),
    "CheckInputImages": ("input_unscaled", "double_scaling"),
    "PoorWeightInitialization": (
        "init_too_large", "init_too_small", "zero_init", "constant_init", "vanishing_gradient",
        "exploding_activations",
    ),
    "WeightUpdateRatio": ("lr_too_high", "lr_too_low", "adam_eps", "clip_too_small"),
    "LossNotDecreasing": (
        "lr_too_low", "lr_too_high", "underfitting", "sign_flipped", "momentum_too_high",
        "schedule_too_fast", "adam_eps",
    ),
    "Overfit": ("overfitting", "too_little_data"),
}  # fmt: skip


def fired(seen: Telemetry) -> list[str]:
    """The rules that fire, the most particular first: the tool itself doesn't rank them."""
    snapshots = [*seen.first, *seen.epochs]
    gradients = [g for shot in snapshots for g in shot.gradients.values()]
    weights = [w for shot in snapshots for w in shot.weights.values()]
    activations = [a for shot in snapshots for a in shot.activations.values()]
    finite = all(map(math.isfinite, seen.train_loss))
    verdicts = {
        "ExplodingTensor": not finite or any(not t.finite for t in (*gradients, *weights)),
        "VanishingGradient": any(g.mean_size < VANISHED for g in gradients),
        "AllZero": any(t.zeros == 1 for t in (*weights, *gradients)),
        "UnchangedTensor": _unchanged(seen),
        "DeadRelu": any(a.kind is nn.ReLU and a.dead > DEAD_LAYER for a in activations),
        "SaturatedActivation": any(
            a.kind in (nn.Tanh, nn.Sigmoid) and a.pinned > SATURATED_LAYER for a in activations
        ),
        "ClassImbalance": _imbalanced(seen),
        "CheckInputImages": abs(seen.images.mean) > INPUT_MEAN,
        "PoorWeightInitialization": _poorly_started(seen),
        "WeightUpdateRatio": any(
            not UPDATES[0] <= ratio <= UPDATES[1]
            for shot in seen.first
            for ratio in shot.updates.values()
        ),
        "LossNotDecreasing": any(b > a * (1 - LEAST_FALL) for a, b in pairwise(seen.train_loss)),
        "Overfit": any(
            (val - train) / abs(train or 1.0) > GAP
            for train, val in zip(seen.train_loss, seen.val_loss, strict=True)
        ),
    }
    return [name for name, fires in verdicts.items() if fires]


def _unchanged(seen: Telemetry) -> bool:
    """Whether a weight that is trained has stayed the same for some steps."""
    for path in seen.first[0].gradients if seen.first else ():
        flags = [shot.unchanged.get(path, False) for shot in seen.first]
        windows = zip(*(flags[start:] for start in range(UNCHANGED_STEPS)), strict=False)
        if any(all(window) for window in windows):
            return True
    return False


def _imbalanced(seen: Telemetry) -> bool:
    ratio = max(seen.counts) / max(1, min(seen.counts))
    return ratio > IMBALANCE or any(1 - recall > MISPREDICTED for recall in seen.recalls)


def _poorly_started(seen: Telemetry) -> bool:
    """Whether variances differ too much between layers, or gradients lie too close together."""
    for shot in seen.first:
        relus = [_variance(a) for a in shot.activations.values() if a.kind is nn.ReLU]
        if len(relus) > 1 and max(relus) > VARIANCE_RATIO * min(relus):
            return True
        ranges = [gradient.middle for gradient in shot.gradients.values()]
        if ranges and min(ranges) < GRADIENT_RANGE:
            return True
    return False


def _variance(activation: Activation) -> float:
    return activation.inputs_variance
