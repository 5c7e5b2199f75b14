"""What one optimizer step makes small: the loss of its batches, and the penalty on the weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from nnrecipe.core.device import autocast
from nnrecipe.core.world import World
from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable, mass
from nnrecipe.losses.weighting import Balanced
from nnrecipe.regularization.mixing import Mixed
from nnrecipe.training.monitors import Watch
from nnrecipe.training.scores import count_correct
from nnrecipe.training.setup import TrainSetup


@dataclass(frozen=True)
class Outcome:
    """Scalars on the device: the mean loss, the penalty, and how many examples were right."""

    loss: Tensor
    penalty: Tensor | None
    correct: Tensor | None


class Objective:
    """A function of the weights: each call returns the loss and leaves its gradient in place.

    The gradient is that of the mean over the examples of all batches, in all processes; `weights`
    are penalized,
    `parameters` are those whose gradient is clipped; a `watch` sees it before and after. `first`
    is the outcome of the first call.
    """

    def __init__(
        self,
        setup: TrainSetup,
        batches: Sequence[Batch],
        *,
        parameters: Sequence[Tensor],
        weights: Sequence[Tensor],
        watch: Watch | None = None,
    ) -> None:
        self.setup, self.parameters, self.weights = setup, parameters, weights
        self.watch = watch
        bare = setup.forward is None or (watch is not None and setup.world.is_alone)
        self.forward = setup.model if bare or setup.forward is None else setup.forward
        self.batches = [
            setup.mixing(inputs, targets) if setup.mixing else Mixed(inputs, targets, targets, 1.0)
            for inputs, targets in batches
        ]
        examples = sum(len(targets) for _, targets in batches)
        self.examples = int(setup.world.sum(torch.tensor(examples)))
        self.shares = _shares(setup.loss, batches, setup.world)
        self.first: Outcome | None = None
        self._to_balance: tuple[Tensor, Tensor] | None = None

    def __call__(self) -> Tensor:
        """Forward and backward through every batch, then the clipping."""
        world = self.setup.world
        self.setup.optimizer.zero_grad()
        penalty = self.setup.penalty.of(self.weights) if self.setup.penalty.active else None
        *others, last = zip(self.batches, self.shares, strict=True)
        parts = [self._backward(batch, share) for batch, share in others]
        parts.append(self._backward(*last, penalty))  # one pass for both costs less than two
        loss, correct = parts[0] if len(parts) == 1 else _sum(parts)
        if not world.is_alone:
            loss = world.sum(loss) / world.size
            correct = None if correct is None else world.sum(correct)
        self.setup.scaler.unscale_(self.setup.optimizer)
        self._clip()
        self._balance()
        if self.first is None:
            self.first = Outcome(loss, None if penalty is None else penalty.detach(), correct)
        return loss if penalty is None else loss + penalty.detach()

    def _backward(
        self, batch: Mixed, share: Tensor | None, penalty: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Add one batch's gradient, and the penalty's if it is given.

        Returns the batch's share of the mean loss, and how many of its examples are right.
        """
        setup = self.setup
        with autocast(setup.device, setup.precision):
            outputs = self.forward(batch.inputs)
            loss = batch.loss(setup.loss, outputs)
        self._compare_tasks(outputs, batch.targets)
        if share is not None:
            loss = loss * share
        setup.scaler.scale(loss if penalty is None else loss + penalty).backward()
        return loss.detach(), _correct(batch, outputs.detach(), setup)

    def _compare_tasks(self, outputs: Tensor, targets: Tensor) -> None:
        """Measure how hard each of several tasks pulls, where somebody wants to know."""
        sharing = self.setup.sharing
        balances = sharing is not None and isinstance(sharing.loss.weighting, Balanced)
        if sharing is None or not (balances or self.watch is not None):
            return
        scale = self.setup.scaler.get_scale()
        if self.watch is not None:
            self.watch.take_tasks(sharing.figures(outputs, targets, scale=scale))
        if balances:
            losses = sharing.loss.each(outputs, targets)
            self._to_balance = sharing.last_norms(losses, scale=scale), losses.detach()

    def _balance(self) -> None:
        """Move the weights of several tasks, by the last batch of the step."""
        sharing = self.setup.sharing
        if sharing is not None and self._to_balance is not None:
            assert isinstance(sharing.loss.weighting, Balanced), "nothing else was measured for"
            sharing.loss.weighting.move(*self._to_balance)

    def _clip(self) -> None:
        limits = self.setup.limits
        clips = limits.gradient_value is not None or limits.gradient_norm is not None
        with self.watch.clipping(clips=clips) if self.watch is not None else nullcontext():
            if limits.gradient_value is not None:
                torch.nn.utils.clip_grad_value_(self.parameters, limits.gradient_value)
            if limits.gradient_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.parameters, limits.gradient_norm)


def _shares(loss: LossCallable, batches: Sequence[Batch], world: World) -> list[Tensor | None]:
    """What each batch's mean loss counts in the mean over all of them; None for one batch alone.

    Of several processes the mean is taken, so there it counts as many times as much.
    """
    if len(batches) == 1 and world.is_alone:
        return [None]
    masses = torch.stack([mass(loss, targets) for _, targets in batches])
    return list(masses * world.size / world.sum(masses.sum()))


def _correct(batch: Mixed, outputs: Tensor, setup: TrainSetup) -> Tensor | None:
    """The right examples of a batch; a mixed example is right in shares."""
    correct = count_correct(outputs, batch.targets, setup.task)
    if batch.share == 1 or correct is None:
        return correct
    other = count_correct(outputs, batch.partners, setup.task)
    assert other is not None, "partners are targets of the same task"
    return batch.share * correct + (1 - batch.share) * other


def _sum(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    losses = torch.stack([loss for loss, _ in parts]).sum()
    counts = [correct for _, correct in parts if correct is not None]
    return losses, torch.stack(counts).sum() if counts else None
