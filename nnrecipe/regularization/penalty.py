"""The data-independent part of the objective: J = mean loss + l2 * sum(W^2) + l1 * sum(|W|)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnrecipe.core.parameters import weights_of


@dataclass(frozen=True)
class Penalty:
    """What large weights cost; biases, norms and frozen weights cost nothing.

    `penalty(model)` is the whole sum as a scalar. A loop that has the weights at hand (from
    `penalized`, once) spares itself the walk through the model: `penalty.of(weights)`.
    """

    l1: float = 0.0
    l2: float = 0.0

    @property
    def active(self) -> bool:
        """Whether there is anything to add to the loss."""
        return self.l1 > 0 or self.l2 > 0

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty of the model's trainable weights, on their device; 0 without any."""
        return self.of(penalized(model))

    def of(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty of these weights (any shapes), on their device; 0 without any."""
        terms: list[Tensor] = []
        if self.l1 and weights:
            terms.append(self.l1 * torch.stack([w.abs().sum() for w in weights]).sum())
        if self.l2 and weights:
            flat = [w.flatten() for w in weights]
            # a dot product squares and sums in one kernel, and leaves no temporary behind
            terms.append(self.l2 * torch.stack([torch.dot(w, w) for w in flat]).sum())
        return torch.stack(terms).sum() if terms else torch.zeros(())


def penalized(model: nn.Module) -> list[Tensor]:
    """The weights that a penalty is on: those of the model that train."""
    return [weight for weight in weights_of(model).values() if weight.requires_grad]
