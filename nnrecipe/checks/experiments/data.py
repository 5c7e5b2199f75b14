"""Suspects among what training is fed: the inputs, their order, the size of the batches."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from nnrecipe.checks.experiments.conditions import Removal, Scene, Suspect
from nnrecipe.core.causes import Cause

SMALL_BATCH, LARGER = 8, 16
NORMS = nn.modules.batchnorm._BatchNorm


def _unit_inputs(scene: Scene) -> Removal | None:
    inputs = scene.held.inputs
    size = float(inputs.float().square().mean().sqrt())
    if not math.isfinite(size) or 0.1 < size < 5:
        return None
    axes = (0, *range(2, inputs.ndim))
    mean, spread = inputs.mean(axes, keepdim=True), inputs.std(axes, keepdim=True)
    conditions = replace(scene.conditions(), prepare=lambda x: (x - mean) / spread.clamp_min(1e-12))
    cause = Cause.INPUT_UNSCALED if size >= 5 else Cause.DOUBLE_SCALING
    return Removal(conditions, ("data.normalize.kind=standardize",), cause)


def _no_augmentation(scene: Scene) -> Removal | None:
    bench = scene.bench
    if not bench.data.augmentation:
        return None
    plain = replace(bench.data, augmentation=replace(bench.data.augmentation, specs=()))
    bare = replace(scene, bench=replace(bench, data=plain))
    return Removal(bare.conditions(), ("data.augment=[]",))


def _shuffled(scene: Scene) -> Removal | None:
    if scene.bench.shuffle:
        return None
    batches = scene.training_batches(scene.bench.batch_size, shuffle=True)
    return Removal(replace(scene.conditions(), batches=batches), ("training.shuffle=true",))


def _larger_batches(scene: Scene) -> Removal | None:
    bench = scene.bench
    if bench.batch_size > SMALL_BATCH:
        return None
    if not any(isinstance(module, NORMS) for module in bench.make_model().modules()):
        return None
    size = min(LARGER * bench.batch_size, len(bench.data.train))
    batches = scene.training_batches(size, shuffle=bench.shuffle)
    return Removal(replace(scene.conditions(), batches=batches), (f"training.batch_size={size}",))


DATA: tuple[Suspect, ...] = (
    Suspect(
        "inputs scaled to mean 0, spread 1",
        Cause.INPUT_UNSCALED,
        remove=_unit_inputs,
        advice=(
            "Set data.normalize: {kind: standardize}, or scale in your Dataset: the gradient of "
            "the first layer grows with its input, so no rate suits both it and the others."
        ),
        source="lecture: data preprocessing",
        others=frozenset({Cause.DOUBLE_SCALING}),
    ),
    Suspect(
        "without augmentation",
        Cause.AUGMENTATION_TOO_STRONG,
        remove=_no_augmentation,
        advice=(
            "Weaken data.augment until you recognise the classes in the picture of the inputs: "
            "what you can't tell apart, the network can't learn."
        ),
        source="lecture: data augmentation",
    ),
    Suspect(
        "examples in random order",
        Cause.UNSHUFFLED,
        remove=_shuffled,
        advice=(
            "Set training.shuffle: true: in sorted order each step forgets what the last ones "
            "taught."
        ),
        source="lecture: mini-batches",
    ),
    Suspect(
        f"batches {LARGER} times as large",
        Cause.BN_SMALL_BATCH,
        remove=_larger_batches,
        advice=(
            "Raise training.batch_size to 16 or more, or use norm: group: the statistics of so "
            "few examples are noise."
        ),
        source="Wu and He 2018",
    ),
)
