"""The training loop, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor

from nnrecipe.data.batch import Batch
from nnrecipe.regularization import limit_norms, penalized
from nnrecipe.training.monitors import Sample, Watch
from nnrecipe.training.objective import Objective
from nnrecipe.training.setup import TrainSetup, grouped


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step. The tensors are scalars on the device, so that nothing waits for them.

    `loss` is the mean loss over the examples without the penalty, before the step; `correct` counts
    the examples that are right (None in a regression); `sample` is there on monitored steps.
    """

    step: int
    loss: Tensor
    penalty: Tensor | None
    correct: Tensor | None
    examples: int
    rate_factor: float
    sample: Sample | None


def train_steps(
    setup: TrainSetup, batches: Iterable[Batch], *, first_step: int = 0
) -> Iterator[StepRecord]:
    """Train on the batches in turn; yields after each step, with the gradients still in place."""
    model, optimizer, limits = setup.model, setup.optimizer, setup.limits
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = penalized(model)
    watch = Watch(model, optimizer) if setup.monitor_every else None
    model.train()
    for step, group in enumerate(grouped(batches, setup.accumulate), first_step):
        factor = setup.schedule(step)
        for settings in optimizer.param_groups:
            settings["lr"] = settings.setdefault("initial_lr", settings["lr"]) * factor

        watched = watch if setup.monitor_every and step % setup.monitor_every == 0 else None
        objective = Objective(setup, group, parameters=parameters, weights=weights, watch=watched)
        with watched.step() if watched is not None else nullcontext():
            if setup.reevaluates:
                optimizer.step(objective)  # type: ignore[arg-type] # torch's closures return tensors
            else:
                objective()
                setup.scaler.step(optimizer)
                setup.scaler.update()
        if limits.weight_norm is not None:
            limit_norms(weights, limits.weight_norm)

        assert objective.first is not None, "every optimizer evaluates its objective"
        yield StepRecord(
            step=step,
            loss=objective.first.loss,
            penalty=objective.first.penalty,
            correct=objective.first.correct,
            examples=objective.examples,
            rate_factor=factor,
            sample=watched.sample(objective.first.loss) if watched is not None else None,
        )
