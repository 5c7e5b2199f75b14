"""Suspects in how a gradient becomes a step: rate, schedule, momentum, eps, clipping."""

from __future__ import annotations

from typing import Any

from nnrecipe.checks.experiments.conditions import Removal, Scene, Suspect
from nnrecipe.core.causes import Cause
from nnrecipe.training.setup import CONSTANT, Limits

NOTES = "lecture: babysitting the learning process"
HEAVY_MOMENTUM, USUAL_MOMENTUM = 0.97, 0.9
LARGE_EPS, USUAL_EPS = 1e-4, 1e-8
FACTOR = 3.0
"""Two rates that differ by less are taken for the same."""


def _no_clipping(scene: Scene) -> Removal | None:
    limits = scene.bench.limits
    if limits.gradient_norm is None and limits.gradient_value is None:
        return None
    free = Limits(weight_norm=limits.weight_norm)
    change = ("training.clip_norm=null", "training.clip_value=null")
    return Removal(scene.conditions().with_setup(limits=free), change)


def _small_eps(scene: Scene) -> Removal | None:
    if not any(float(g.get("eps") or 0.0) >= LARGE_EPS for g in scene.optimizer.param_groups):
        return None
    conditions = scene.conditions()
    for group in conditions.setup.optimizer.param_groups:
        group["eps"] = USUAL_EPS
    return Removal(conditions, (f"optimizer.eps={USUAL_EPS:g}",))


def _usual_momentum(scene: Scene) -> Removal | None:
    groups = scene.optimizer.param_groups
    if not any(_momentum(group) >= HEAVY_MOMENTUM for group in groups):
        return None
    conditions = scene.conditions()
    for group in conditions.setup.optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = USUAL_MOMENTUM
        if "betas" in group:
            group["betas"] = (USUAL_MOMENTUM, *group["betas"][1:])
    key = "momentum" if "momentum" in groups[0] else "betas"
    value = f"{USUAL_MOMENTUM:g}" if key == "momentum" else f"[{USUAL_MOMENTUM:g}, 0.999]"
    return Removal(conditions, (f"optimizer.{key}={value}",))


def _momentum(group: dict[str, Any]) -> float:
    betas = group.get("betas") or (0.0,)
    return max(float(group.get("momentum") or 0.0), float(betas[0]))


def _constant_rate(scene: Scene) -> Removal | None:
    factors = [scene.schedule(step) for step in range(scene.steps)]
    if not factors[-1] < 0.1 * max(factors):
        return None
    return Removal(scene.conditions().with_setup(schedule=CONSTANT), ("scheduler=constant",))


def _other_rate(scene: Scene) -> Removal | None:
    """The probe's rate in place of the recipe's."""
    suggested = scene.suggested
    if suggested is None or max(suggested / scene.rate, scene.rate / suggested) < FACTOR:
        return None
    cause = Cause.LR_TOO_HIGH if suggested < scene.rate else Cause.LR_TOO_LOW
    return Removal(scene.conditions(rate=suggested), (f"optimizer.lr={suggested:g}",), cause)


def _a_tenth_of_the_rate(scene: Scene) -> Removal | None:
    return (
        None
        if scene.suggested
        else Removal(scene.conditions(rate=scene.rate / 10), (f"optimizer.lr={scene.rate / 10:g}",))
    )


def _ten_times_the_rate(scene: Scene) -> Removal | None:
    return (
        None
        if scene.suggested
        else Removal(scene.conditions(rate=scene.rate * 10), (f"optimizer.lr={scene.rate * 10:g}",))
    )


OPTIMIZATION: tuple[Suspect, ...] = (
    Suspect(
        "gradients not clipped",
        Cause.CLIP_TOO_SMALL,
        remove=_no_clipping,
        advice=(
            "Raise training.clip_norm to about the norm that gradients have in a healthy step: "
            "below it every step is scaled down, as by a smaller learning rate."
        ),
        source="Pascanu et al. 2013",
    ),
    Suspect(
        f"eps {USUAL_EPS:g} in the optimizer",
        Cause.ADAM_EPS,
        remove=_small_eps,
        advice=(
            f"Set optimizer.eps: {USUAL_EPS:g}: a large one swallows the root of the second "
            "moment, and the steps shrink with the gradient."
        ),
        source="Kingma and Ba 2015",
    ),
    Suspect(
        f"momentum {USUAL_MOMENTUM:g}",
        Cause.MOMENTUM_TOO_HIGH,
        remove=_usual_momentum,
        advice=(
            f"Set the momentum to {USUAL_MOMENTUM:g}: steps add up to 1 / (1 - momentum) times the"
            " learning rate, and overshoot for as many steps."
        ),
        source="lecture: optimizers",
    ),
    Suspect(
        "constant learning rate",
        Cause.SCHEDULE_TOO_FAST,
        remove=_constant_rate,
        advice=(
            "Let the schedule decay later: the rate is down to a tenth before the loss has fallen."
        ),
        source="lecture: learning rate schedules",
    ),
    Suspect(
        "the probe's learning rate",
        Cause.LR_TOO_HIGH,
        remove=_other_rate,
        advice=(
            "Set optimizer.lr to the probe's rate, or auto: at the declared one the loss falls "
            "less in as many steps."
        ),
        source=NOTES,
        others=frozenset({Cause.LR_TOO_LOW}),
    ),
    Suspect(
        "a tenth of the learning rate",
        Cause.LR_TOO_HIGH,
        remove=_a_tenth_of_the_rate,
        advice=("Lower optimizer.lr: each step overshoots, and the next one is larger."),
        source=NOTES,
    ),
    Suspect(
        "ten times the learning rate",
        Cause.LR_TOO_LOW,
        remove=_ten_times_the_rate,
        advice=("Raise optimizer.lr: the steps are too small to get anywhere."),
        source=NOTES,
    ),
)
