"""The training loop, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nnrecipe.core.device import autocast
from nnrecipe.data.batch import Batch
from nnrecipe.regularization import penalized
from nnrecipe.training.monitors import Sample, Watch
from nnrecipe.training.setup import TrainSetup


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step. The tensors are scalars on the device, so that nothing waits for them.

    `loss` is the mean loss of the batch without the penalty, before the step; `correct` counts the
    examples whose largest logit is their target; `sample` is there on monitored steps.
    """

    step: int
    loss: Tensor
    penalty: Tensor | None
    correct: Tensor
    examples: int
    rate_factor: float
    sample: Sample | None


def train_steps(
    setup: TrainSetup, batches: Iterable[Batch], *, first_step: int = 0
) -> Iterator[StepRecord]:
    """Train on each batch in turn; yields after each step, with the gradients still in place."""
    model, optimizer, penalty = setup.model, setup.optimizer, setup.penalty
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = penalized(model) if penalty.active else []
    watch = Watch(model) if setup.monitor_every else None
    model.train()
    for step, (inputs, targets) in enumerate(batches, first_step):
        factor = setup.schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

        with autocast(setup.device, setup.precision):
            logits = model(inputs)
            loss = setup.loss(logits, targets)
        extra = penalty.of(weights) if weights else None

        optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        if setup.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, setup.clip_norm)
        watched = watch if setup.monitor_every and step % setup.monitor_every == 0 else None
        if watched is not None:
            watched.before_step()
        optimizer.step()

        yield StepRecord(
            step=step,
            loss=loss.detach(),
            penalty=None if extra is None else extra.detach(),
            correct=(logits.detach().argmax(1) == targets).sum(),
            examples=len(targets),
            rate_factor=factor,
            sample=watched.after_step() if watched is not None else None,
        )
