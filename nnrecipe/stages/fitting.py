"""What the whole training of a model takes, as the recipe says."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from nnrecipe.checks.cost import step_flops
from nnrecipe.stages.run import Run
from nnrecipe.training.compilation import Compiled, compiled, pays
from nnrecipe.training.setup import TrainSetup


def full_setup(
    run: Run, model: nn.Module, *, rate: float, monitor_every: int | None = None
) -> TrainSetup:
    """The setup to train `model` at `rate` over the whole schedule, compiled where that pays."""
    setup = run.bench.setup(
        model,
        lr=rate,
        schedule=run.schedule,
        accumulate=run.training.accumulate,
        monitor_every=monitor_every,
    )
    return replace(setup, forward=_compiled(run, setup))


def _compiled(run: Run, setup: TrainSetup) -> Compiled | None:
    """The model compiled, where the recipe says so or leaves it open and it pays."""
    wanted, size = run.training.compile, run.training.batch_size
    if wanted == "off":
        return None
    if wanted == "auto":
        steps = run.steps_per_epoch * run.training.epochs
        work = step_flops(run.bench, examples=size)
        if not pays(run.device, setup.precision, step=work, steps=steps):
            return None
    return compiled(setup.model, device=run.device, batch_size=size)
