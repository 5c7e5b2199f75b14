"""What is measured while a model trains: the size of its gradients and of its updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnrecipe.core.parameters import weights_of


@dataclass(frozen=True)
class Sample:
    """The state of every trainable weight tensor around one step; vectors [L] over `paths`.

    `update_ratio` is |new - old| / |old|, the lecture's ~1e-3; NaN where the old weights are zero.
    """

    paths: tuple[str, ...]
    update_ratio: Tensor
    gradient_norm: Tensor

    def by_path(self) -> tuple[dict[str, float], dict[str, float]]:
        """(update ratios, gradient norms) by parameter path; one synchronisation for both."""
        ratios, norms = torch.stack([self.update_ratio, self.gradient_norm]).tolist()
        return (
            dict(zip(self.paths, ratios, strict=True)),
            dict(zip(self.paths, norms, strict=True)),
        )


class Watch:
    """Measures a step from both of its sides. It costs a copy of the weights, so use it rarely."""

    def __init__(self, model: nn.Module) -> None:
        weights = {path: w for path, w in weights_of(model).items() if w.requires_grad}
        self._paths = tuple(weights)
        self._weights: list[Tensor] = list(weights.values())
        self._old: list[Tensor] = []

    def before_step(self) -> None:
        """Remember the weights."""
        self._old = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def after_step(self) -> Sample | None:
        """Compare with the remembered weights; None if the model has no weights to compare."""
        if not self._weights:
            return None
        before = torch.stack(torch._foreach_norm(self._old))
        changes = torch._foreach_sub(self._weights, self._old)
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad
            for weight in self._weights
        ]
        return Sample(
            paths=self._paths,
            update_ratio=torch.stack(torch._foreach_norm(changes)) / before,
            gradient_norm=torch.stack(torch._foreach_norm(gradients)),
        )
