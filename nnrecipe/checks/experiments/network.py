"""Suspects in the network: its initial weights, nonlinearity, dropout, frozen parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from nnrecipe.checks.experiments.conditions import Removal, Scene, Suspect
from nnrecipe.core.causes import Cause
from nnrecipe.core.parameters import weights_of
from nnrecipe.init.scaled import KaimingNormal
from nnrecipe.layers.interventions import DropoutOff, Rectified, without_dropout

FACTOR = 3.0
"""Two sizes of weights that differ by less are taken for the same."""
FEWEST_SQUASHED = 3
"""Squashing functions in a row from which gradients may vanish."""


def _kaiming(scene: Scene) -> Removal | None:
    init = KaimingNormal(output_gain=0.1)
    old, new = (
        weights_of(model)
        for model in (
            scene.bench.make_model(),
            scene.bench.make_variant(init=init),
        )
    )
    cause = _size_of(old, new)
    if cause is None:
        return None
    return Removal(scene.conditions(init=init), ("init.kind=kaiming_normal",), cause)


def _size_of(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Cause | None:
    """What the old weights are against fresh ones; None if they are of the same size."""
    ratios = []
    for path, weight in old.items():
        if weight.ndim < 2:
            continue
        if not bool(weight.any()):
            return Cause.ZERO_INIT
        if bool((weight == weight.flatten()[0]).all()):
            return Cause.CONSTANT_INIT
        ratios.append(float(weight.detach().std()) / max(float(new[path].detach().std()), 1e-30))
    hidden = ratios[:-1] or ratios
    mean = math.exp(sum(math.log(max(r, 1e-30)) for r in hidden) / len(hidden)) if hidden else 1.0
    if mean > FACTOR:
        return Cause.INIT_TOO_LARGE
    return Cause.INIT_TOO_SMALL if mean < 1 / FACTOR else None


def _relu(scene: Scene) -> Removal | None:
    watch = Rectified()
    with torch.no_grad(), watch:
        scene.bench.loss_of(scene.bench.make_model().train(), scene.batches[0])
    if watch.replaced < FEWEST_SQUASHED:
        return None
    conditions = scene.conditions(init=KaimingNormal(output_gain=0.1))
    return Removal(replace(conditions, context=Rectified), ("architecture.activation=relu",))


def _no_dropout(scene: Scene) -> Removal | None:
    model = scene.bench.make_model().train()
    modules = [m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    off = DropoutOff()
    with torch.no_grad(), off:
        scene.bench.loss_of(model, scene.batches[0])
    if not off.strongest and not any(modules):
        return None
    conditions = scene.conditions(model=without_dropout(scene.bench.make_model()))
    return Removal(replace(conditions, context=DropoutOff), ("regularization.dropout=0.2",))


def _unfrozen(scene: Scene) -> Removal | None:
    model = scene.bench.make_model()
    still = [
        parameter
        for path, parameter in model.named_parameters()
        if not parameter.requires_grad and path not in scene.bench.frozen
    ]
    for parameter in still:
        parameter.requires_grad_(True)
    return Removal(scene.conditions(model=model)) if still else None


NETWORK: tuple[Suspect, ...] = (
    Suspect(
        "kaiming weights",
        Cause.INIT_TOO_LARGE,
        remove=_kaiming,
        advice=(
            "Set init: kaiming_normal: weights scaled by their fan-in keep signals and gradients "
            "at their size from layer to layer."
        ),
        source="lecture: weight initialization; He et al. 2015",
        others=frozenset({Cause.INIT_TOO_SMALL, Cause.ZERO_INIT, Cause.CONSTANT_INIT}),
    ),
    Suspect(
        "relu for sigmoid and tanh",
        Cause.SATURATING_DEPTH,
        remove=_relu,
        advice=(
            "Use architecture.activation: relu with init: kaiming_normal: each sigmoid passes at "
            "most a quarter of the gradient, and many of them pass none."
        ),
        source="lecture: activation functions",
        others=frozenset({Cause.VANISHING_GRADIENT, Cause.SATURATED_UNITS, Cause.TOO_DEEP}),
    ),
    Suspect(
        "without dropout",
        Cause.DROPOUT_TOO_HIGH,
        remove=_no_dropout,
        advice=(
            "Lower the drop probability to 0.5 or less: what is left of a layer carries too "
            "little of the signal for its successor to learn from."
        ),
        source="Srivastava et al. 2014",
    ),
    Suspect(
        "all parameters trained",
        Cause.ACCIDENTAL_FREEZE,
        remove=_unfrozen,
        advice=(
            "Leave requires_grad on, or declare what is frozen in transfer.freeze: what is frozen"
            " here keeps the network from learning."
        ),
        source="lecture: transfer learning",
    ),
)
