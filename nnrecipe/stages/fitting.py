"""What the whole training of a model takes, as the recipe says."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from nnrecipe.checks.cost import step_flops
from nnrecipe.stages.run import Experiment
from nnrecipe.training.compilation import Compiled, compiled, pays
from nnrecipe.training.setup import TrainSetup


def full_setup(
    experiment: Experiment, model: nn.Module, *, rate: float, monitor_every: int | None = None
) -> TrainSetup:
    """The setup to train `model` at `rate` over the whole schedule, compiled where that pays."""
    setup = plain_setup(experiment, model, rate=rate, monitor_every=monitor_every)
    return replace(setup, forward=_compiled(experiment, setup))


def plain_setup(
    experiment: Experiment, model: nn.Module, *, rate: float, monitor_every: int | None = None
) -> TrainSetup:
    """The same, never compiled."""
    return experiment.bench.setup(
        model,
        lr=rate,
        schedule=experiment.schedule,
        accumulate=experiment.training.accumulate,
        monitor_every=monitor_every,
    )


def _compiled(experiment: Experiment, setup: TrainSetup) -> Compiled | None:
    """The model compiled, where the recipe says so or leaves it open and it pays."""
    wanted, size = experiment.training.compile, experiment.training.batch_size
    if wanted == "off":
        return None
    if wanted == "auto":
        steps = experiment.steps_per_epoch * experiment.training.epochs
        work = step_flops(experiment.bench, examples=size)
        if not pays(experiment.device, setup.precision, step=work, steps=steps):
            return None
    return compiled(setup.model, device=experiment.device, batch_size=size)
