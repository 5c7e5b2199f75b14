"""What the replicas of a stack make small, and what is added to or taken from its gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnrecipe.losses import LossCallable
from nnrecipe.losses.function import LossFunction
from nnrecipe.training.setup import TrainSetup


class StackedLoss:
    """The losses of K replicas, which may differ in how much they smooth the labels.

    Cross-entropy is linear in the smoothing e: (1 - e) * hard + e * smooth, the two being the
    losses at e = 0 and 1. `smoothing` is [K], or None where all replicas have the same loss.
    """

    def __init__(self, losses: Sequence[LossCallable], *, like: Tensor) -> None:
        smoothing = [_smoothing(loss) for loss in losses]
        self.smoothing: Tensor | None = None
        self._hard = self._smooth = losses[0]
        if len(set(smoothing)) > 1:
            self.smoothing = torch.tensor(smoothing, dtype=like.dtype, device=like.device)
            self._hard = _smoothed(losses[0], 0.0)
            self._smooth = _smoothed(losses[0], 1.0)

    def __call__(self, outputs: Tensor, targets: Tensor, smoothing: Tensor | None) -> Tensor:
        """One replica's loss of outputs [N, size], a scalar, given its own smoothing."""
        hard = self._hard(outputs, targets)
        if smoothing is None:
            return hard
        return hard + smoothing * (self._smooth(outputs, targets) - hard)


def _module_of(loss: LossCallable) -> LossCallable:
    return loss.loss if isinstance(loss, LossFunction) else loss


def _smoothing(loss: LossCallable) -> float:
    module = _module_of(loss)
    return module.label_smoothing if isinstance(module, nn.CrossEntropyLoss) else 0.0


def _smoothed(loss: LossCallable, share: float) -> LossCallable:
    changed = copy.deepcopy(loss)
    module = _module_of(changed)
    assert isinstance(module, nn.CrossEntropyLoss), "only cross-entropy smooths"
    module.label_smoothing = share
    return changed


def per_replica(values: Sequence[float | None], *, like: Tensor) -> Tensor:
    """Numbers as [K], in the place and precision of `like`; None is infinite."""
    numbers = [math.inf if value is None else value for value in values]
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """[K] as [K, 1, ...], to go with a tensor [K, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))


class StackedPenalty:
    """The gradient of l2 * sum(W^2) + l1 * sum(|W|), with each replica's own factors."""

    def __init__(self, setups: Sequence[TrainSetup], *, like: Tensor) -> None:
        penalties = [setup.penalty for setup in setups]
        self.l1, self.l2 = any(p.l1 for p in penalties), any(p.l2 for p in penalties)
        self._l1 = per_replica([p.l1 for p in penalties], like=like)
        self._twice_l2 = per_replica([2 * p.l2 for p in penalties], like=like)

    def __bool__(self) -> bool:
        """Whether any replica's weights cost anything."""
        return self.l1 or self.l2

    def add(self, gradient: Tensor, weight: Tensor) -> None:
        """Add it to a weight's gradient [K, ...], in place."""
        if self.l1:
            gradient.addcmul_(weight.sign(), spread(self._l1, weight))
        if self.l2:
            gradient.addcmul_(weight, spread(self._twice_l2, weight))


class StackedLimits:
    """Each replica's own bounds on its gradient and on the norms of its weights."""

    def __init__(self, setups: Sequence[TrainSetup], *, like: Tensor) -> None:
        limits = [setup.limits for setup in setups]
        norms = [limit.gradient_norm for limit in limits]
        values = [limit.gradient_value for limit in limits]
        weights = [limit.weight_norm for limit in limits]
        self._norms = None if not any(norms) else per_replica(norms, like=like)
        self._values = None if not any(values) else per_replica(values, like=like)
        self._weights = None if not any(weights) else per_replica(weights, like=like)

    def clip(self, gradients: Sequence[Tensor]) -> None:
        """Bound the gradients' entries, then the norm of all of a replica's, in place.

        The norm's formula is that of `torch.nn.utils.clip_grad_norm_`.
        """
        if self._values is not None:
            for gradient in gradients:
                bound = spread(self._values, gradient)
                gradient.clamp_(-bound, bound)
        if self._norms is not None:
            norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
            norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
            factor = (self._norms / (norm + 1e-6)).clamp_max(1)
            for gradient in gradients:
                gradient.mul_(spread(factor, gradient))

    def limit_weights(self, weights: Sequence[Tensor]) -> None:
        """Scale down, in place, each unit's incoming weights; those of `Tensor.renorm_`."""
        if self._weights is None:
            return
        for weight in weights:
            norm = torch.linalg.vector_norm(weight.flatten(2), dim=2)  # [K, units]
            largest = self._weights.unsqueeze(1)
            factor = torch.where(norm > largest, largest / (norm + 1e-7), 1)
            weight.mul_(factor.view(*norm.shape, *[1] * (weight.ndim - 2)))
