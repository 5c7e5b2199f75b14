"""A user's losses and optimizers with a mistake in them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared distance to the one-hot labels."""
    return F.mse_loss(logits, F.one_hot(targets, logits.shape[1]).float())


def squared_error_of_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of the probabilities to the one-hot labels."""
    return F.mse_loss(logits.softmax(1), F.one_hot(targets, logits.shape[1]).float())


def likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """The negative log-likelihood, of what should be log-probabilities."""
    return F.nll_loss(logits, targets)


def maximized(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with its sign turned."""
    return -F.cross_entropy(logits, targets)


def rewarded(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean log-probability of the right class: something to be made large."""
    return logits.log_softmax(1).gather(1, targets[:, None]).mean()


def summed(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy summed over the batch."""
    return F.cross_entropy(logits, targets, reduction="sum")


def lopsided(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy whose weights favour one class by far."""
    weights = torch.ones(logits.shape[1], device=logits.device)
    weights[0] = 500.0
    return F.cross_entropy(logits, targets, weight=weights)


def growing(groups: Any, lr: float = 0.1, strength: float = 0.01) -> torch.optim.Optimizer:
    """SGD whose weight decay has the wrong sign."""
    return Growing(groups, lr=lr, strength=strength)


class Growing(torch.optim.SGD):
    """SGD that pushes the weights away from zero."""

    def __init__(self, groups: Any, *, lr: float, strength: float) -> None:
        super().__init__(groups, lr=lr, momentum=0.9)
        self.strength = strength

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Add the penalty's gradient, with its sign turned, then step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.ndim > 1:
                    parameter.grad.sub_(parameter, alpha=self.strength)
        return super().step(closure)
