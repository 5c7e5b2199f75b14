"""What several tasks share of a network, and how hard each of them pulls at it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from nnrecipe.losses import TaskLosses


class Sharing:
    """The gradients of several tasks' losses by the parameters that they share.

    A parameter is a task's own, a head's, if no entry of it has a gradient of two tasks; a last
    layer that is a row for each output so belongs to the heads. What gets no gradient at all counts
    as shared.
    """

    def __init__(self, parameters: Sequence[Parameter], loss: TaskLosses) -> None:
        self.loss = loss
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._last: Parameter | None = None

    def figures(
        self, outputs: Tensor, targets: Tensor, *, scale: float = 1.0
    ) -> dict[str, dict[str, Tensor]]:
        """What a `Reading` keeps of each task, by its name. The graph stays for another pass.

        Gradients are computed of losses times `scale`, so that fp16 can hold them.
        """
        losses, weights = self.loss.each(outputs, targets), self.loss.weighting.weights().clone()
        found = {"task_loss": losses.detach(), "task_weight": weights}
        if len(losses) > 1:
            found["task_gradient"] = weights * self.norms(losses, scale=scale)
        return {name: dict(zip(self.loss.names, of, strict=True)) for name, of in found.items()}

    def norms(self, losses: Tensor, *, scale: float = 1.0) -> Tensor:
        """[T] The norms of the gradients of `losses: [T]` by all that is shared."""
        gradients = _gradients(losses * scale, self._parameters)
        squares = torch.zeros(len(losses), device=losses.device)
        for own in zip(*gradients, strict=True):
            parts = [squares.new_zeros(()) if g is None else g.float().square().sum() for g in own]
            shared = _is_shared(own).to(squares.device)
            squares = squares + torch.where(shared, torch.stack(parts), 0.0)
        return squares.sqrt() / scale

    def last_norms(self, losses: Tensor, *, scale: float = 1.0) -> Tensor:
        """[T] The same by the weights of the last shared layer alone, which costs far less."""
        if self._last is None:
            self._last = self._find_last(losses)
        gradients = _gradients(losses * scale, [self._last])
        norms = [torch.zeros(()) if g is None else g.float().norm() for (g,) in gradients]
        return torch.stack([norm.to(losses.device) for norm in norms]) / scale

    def _find_last(self, losses: Tensor) -> Parameter:
        """The last weights, in the model's order, that more than one task moves; else the first."""
        gradients = zip(*_gradients(losses, self._parameters), strict=True)
        pairs = zip(self._parameters, gradients, strict=True)
        shared = [p for p, own in pairs if p.ndim > 1 and bool(_is_shared(own))]
        return shared[-1] if shared else self._parameters[0]


def _gradients(losses: Tensor, parameters: Sequence[Parameter]) -> list[tuple[Tensor | None, ...]]:
    """Each loss's gradient by each parameter; the graph stays."""
    return [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in losses
    ]


def _is_shared(gradients: Sequence[Tensor | None]) -> Tensor:
    """Whether some entry of a parameter has a gradient of two tasks, or none has one of any."""
    moved = [gradient != 0 for gradient in gradients if gradient is not None]
    if not moved:
        return torch.tensor(False)
    counts = torch.stack(moved).sum(0)
    return (counts > 1).any() | ~(counts > 0).any()
