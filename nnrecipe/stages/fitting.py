"""What the whole training of a model takes, as the recipe says."""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnrecipe.checks import Bench
from nnrecipe.checks.cost import step_flops
from nnrecipe.core.errors import UserError
from nnrecipe.core.world import ALONE, World
from nnrecipe.stages.run import Run
from nnrecipe.training.compilation import Compiled, compiled, pays
from nnrecipe.training.setup import TrainSetup

EXAMPLES = 16
"""Training examples by which it is found out whether a network uses all of its parameters."""


def full_setup(
    run: Run,
    model: nn.Module,
    *,
    rate: float,
    monitor_every: int | None = None,
    world: World = ALONE,
) -> TrainSetup:
    """The setup to train `model` at `rate` over the whole schedule, compiled where that pays.

    The processes of a `world` train the model together, and have to call this together.
    """
    setup = run.bench.setup(
        model,
        lr=rate,
        schedule=run.schedule,
        accumulate=run.training.accumulate,
        monitor_every=monitor_every,
    )
    if not world.is_alone:
        return replace(setup, forward=_joined(run, setup, world), world=world)
    return replace(setup, forward=_compiled(run, setup))


def _joined(run: Run, setup: TrainSetup, world: World) -> DistributedDataParallel:
    """The model with its gradients averaged over the processes."""
    if run.training.compile == "on":
        found = f"on, and {world.size} processes train together"
        raise UserError(f"training.compile: {found}: leave it at auto, or use one process")
    world.agree(setup.model)
    return DistributedDataParallel(setup.model, find_unused_parameters=_leaves_out(run.bench))


def _leaves_out(bench: Bench) -> bool:
    """Whether some parameter gets no gradient, for which the processes must not wait."""
    model = bench.make_model().train()
    bench.loss_of(model, bench.sample(bench.data.train, EXAMPLES)).backward()
    return any(p.grad is None for p in model.parameters() if p.requires_grad)


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
