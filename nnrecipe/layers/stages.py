"""Features of a network at several depths, and a linear classifier on top of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn


def pooled(features: Tensor) -> Tensor:
    """One row of features for each example: the mean over pixels [N, C, H, W] or tokens [N, T, D].

    What has no pixels stays as it is; what has other dimensions is flattened.
    """
    if features.ndim == 3:
        return features.mean(1)
    return features.flatten(2).mean(2) if features.ndim > 3 else features.flatten(1)


def features_at(network: nn.Module, paths: Sequence[str], x: Tensor) -> list[Tensor]:
    """What the modules at `paths` put out for x: [N, ...], pooled: a [N, F] of each."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        def kept(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[path] = pooled(output)

        return kept

    hooks = [network.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [found[path] for path in paths]


class StageClassifier(nn.Module):
    """A linear classifier on the features of several depths of a network, which stays as it is.

    The features of each depth are averaged over the pixels; all of them, brought to mean 0 and
    spread 1, go side by side into one linear layer.
    """

    def __init__(self, trunk: nn.Module, paths: Sequence[str], x: Tensor, *, outputs: int) -> None:
        """`x: [N, ...]` are inputs to find the number of features with."""
        super().__init__()
        self.paths = tuple(paths)
        self.trunk = trunk.requires_grad_(False)
        with torch.no_grad():
            width = sum(f.shape[1] for f in features_at(trunk.eval(), self.paths, x))
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.fc = nn.Linear(width, outputs)
        nn.init.zeros_(self.fc.bias)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """The trunk stays in eval mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def features(self, x: Tensor) -> Tensor:
        """x: [N, ...] -> [N, features of all depths]."""
        return torch.cat(features_at(self.trunk, self.paths, x), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, ...] -> [N, outputs]."""
        return self.fc(self.norm(self.features(x)))  # type: ignore[no-any-return]
