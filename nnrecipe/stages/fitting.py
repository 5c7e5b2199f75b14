"""What the whole training of a model takes, as the recipe says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnrecipe.checks import Bench
from nnrecipe.checks.cost import step_flops
from nnrecipe.core.errors import UserError
from nnrecipe.core.world import ALONE, World
from nnrecipe.losses import TaskLosses
from nnrecipe.losses.weighting import Balanced
from nnrecipe.stages.run import Experiment
from nnrecipe.training.compilation import Compiled, compiled, pays
from nnrecipe.training.setup import TrainSetup

EXAMPLES = 16
"""Training examples by which it is found out whether a network uses all of its parameters."""


def full_setup(
    experiment: Experiment,
    model: nn.Module,
    *,
    rate: float,
    monitor_every: int | None = None,
    world: World = ALONE,
) -> TrainSetup:
    """The setup to train `model` at `rate` over the whole schedule, compiled where that pays.

    The processes of a `world` train the model together, and have to call this together.
    """
    setup = plain_setup(experiment, model, rate=rate, monitor_every=monitor_every)
    if not world.is_alone:
        return replace(setup, forward=_joined(experiment, setup, world), world=world)
    return replace(setup, forward=_compiled(experiment, setup))


def plain_setup(
    experiment: Experiment, model: nn.Module, *, rate: float, monitor_every: int | None = None
) -> TrainSetup:
    """The same for one process, never compiled."""
    bench = experiment.bench
    setup = bench.setup(
        model,
        lr=rate,
        schedule=experiment.schedule,
        accumulate=experiment.training.accumulate,
        monitor_every=monitor_every,
    )
    return setup if bench.thaw is None else replace(setup, thaw=partial(bench.thaw, setup.model))


def _joined(experiment: Experiment, setup: TrainSetup, world: World) -> DistributedDataParallel:
    """The model with its gradients averaged over the processes."""
    if isinstance(setup.loss, TaskLosses) and setup.loss.learns:
        found = f"{world.size} processes train together, and the tasks' weights are learned in one"
        raise UserError(f"loss.weights.kind: {found}: use fixed or auto, or one process")
    if experiment.training.compile == "on":
        found = f"on, and {world.size} processes train together"
        raise UserError(f"training.compile: {found}: leave it at auto, or use one process")
    world.agree(setup.model)
    unused = setup.thaw is not None or _leaves_out(experiment.bench)
    return DistributedDataParallel(setup.model, find_unused_parameters=unused)


def _leaves_out(bench: Bench) -> bool:
    """Whether some parameter gets no gradient, for which the processes must not wait."""
    model = bench.make_model().train()
    bench.loss_of(model, bench.sample(bench.data.train, EXAMPLES)).backward()
    return any(p.grad is None for p in model.parameters() if p.requires_grad)


def _compiled(experiment: Experiment, setup: TrainSetup) -> Compiled | None:
    """The model compiled, where the recipe says so or leaves it open and it pays."""
    wanted, size = experiment.training.compile, experiment.training.batch_size
    if wanted == "off":
        return None
    if isinstance(setup.loss, TaskLosses) and isinstance(setup.loss.weighting, Balanced):
        return None  # a compiled backward pass can't be taken twice
    if wanted == "auto":
        steps = experiment.steps_per_epoch * experiment.training.epochs
        work = step_flops(experiment.bench, examples=size)
        if not pays(experiment.device, setup.precision, step=work, steps=steps):
            return None
    return compiled(setup.model, device=experiment.device, batch_size=size)
