"""What a loss is once it is built."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnrecipe.core.errors import UserError

LossCallable = Callable[[Tensor, Tensor], Tensor]
"""(outputs [N, size], targets) -> scalar, the mean over the batch.

Targets are classes [N] int64, or numbers [N, size]: 0 and 1 for labels, any for a regression.
"""


class LossFunction:
    """A loss that goes where its outputs are and computes in float32 or better.

    A module's buffers (class weights, say) and targets that are numbers follow the outputs to their
    precision, so the same loss serves training on a GPU and a gradient check in float64.
    """

    def __init__(self, loss: LossCallable, *, class_weights: Tensor | None = None) -> None:
        """`class_weights: [C]` are those by which the loss takes its mean, if it does."""
        self.loss = loss
        self.class_weights = class_weights
        self._place: tuple[torch.device, torch.dtype] | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a model's outputs [N, size], a scalar."""
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        place = (outputs.device, dtype)
        if place != self._place:
            if isinstance(self.loss, nn.Module):
                with torch.inference_mode(mode=False):  # or no training could use them afterwards
                    self.loss.to(*place)
            self._place = place
        if targets.is_floating_point():
            targets = targets.to(dtype)
        return self.loss(outputs.to(dtype), targets)


class ElementwiseLoss(LossFunction):
    """A loss with one target for each output, which torch would otherwise broadcast."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs [N, size] against targets [N, size], a scalar."""
        if outputs.shape != targets.shape:
            found = f"outputs {list(outputs.shape)} for targets {list(targets.shape)}"
            raise UserError(f"architecture.target: {found}: the model must give as many")
        return super().__call__(outputs, targets)


def module_of(loss: LossCallable) -> nn.Module | None:
    """The module that a loss is, or is made of: what it keeps from one step to the next."""
    inner = loss.loss if isinstance(loss, LossFunction) else loss
    return inner if isinstance(inner, nn.Module) else None


def mass(loss: LossCallable, targets: Tensor) -> Tensor:
    """By what a batch's mean is divided, a scalar: its examples, or the sum of their class weights.

    The mean over several batches is that of their losses, each times its mass, over all masses.
    """
    if isinstance(loss, LossFunction) and loss.class_weights is not None:
        return loss.class_weights.to(targets.device)[targets].sum()
    return torch.tensor(float(len(targets)), dtype=torch.float64, device=targets.device)
