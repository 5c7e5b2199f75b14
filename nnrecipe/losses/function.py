"""What a loss is once it is built."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LossCallable = Callable[[Tensor, Tensor], Tensor]
"""(logits [N, C], targets [N]) -> scalar, the mean over the batch."""


class LossFunction:
    """A loss that goes where its logits are and computes in float32 or better.

    A module's buffers (class weights, say) follow the logits to their device and precision, so the
    same loss serves training on a GPU and a gradient check in float64.
    """

    def __init__(self, loss: LossCallable) -> None:
        self.loss = loss
        self._place: tuple[torch.device, torch.dtype] | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits [N, C] against targets [N], a scalar."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        place = (logits.device, dtype)
        if place != self._place:
            if isinstance(self.loss, nn.Module):
                self.loss.to(*place)
            self._place = place
        return self.loss(logits.to(dtype), targets)
