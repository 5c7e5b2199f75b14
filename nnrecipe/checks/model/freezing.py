"""Which frozen weights are as they were drawn, and which somebody has trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nnrecipe.core.parameters import weights_of

LEAST = 16
"""Numbers from which their distribution says something."""


def drawn_share(model: nn.Module, paths: Iterable[str]) -> float:
    """The share of the model's weights, by their numbers, that are among `paths` and untrained.

    0 where more of those among `paths` have been trained.
    """
    weights = weights_of(model)
    total = sum(weight.numel() for weight in weights.values())
    chosen = [weights[path] for path in paths if path in weights]
    drawn = sum(weight.numel() for weight in chosen if looks_drawn(weight))
    return drawn / total if 2 * drawn > sum(weight.numel() for weight in chosen) else 0.0


@torch.no_grad()
def looks_drawn(weight: Tensor) -> bool:
    """Whether a weight's entries are independent draws, uniform or normal, as initializers make.

    Training pulls some far beyond the edge of a uniform distribution, and makes rows that agree:
    the largest singular value of independent ones of deviation s is s (sqrt(m) + sqrt(n)) (Bai and
    Yin 1993).
    """
    rows = weight.detach().float().flatten(1)
    if rows.numel() < LEAST:
        return False
    deviation = rows.square().mean().sqrt()
    if not float(deviation) > 0:
        return True
    if float(rows.abs().max()) <= 1.03 * 3**0.5 * float(deviation) + 0.02 * float(deviation):
        return True
    kurtosis = float((rows / deviation).pow(4).mean())
    normal = abs(kurtosis - 3) < 5 * (24 / rows.numel()) ** 0.5
    edge = deviation * (rows.shape[0] ** 0.5 + rows.shape[1] ** 0.5)
    return normal and bool(torch.linalg.matrix_norm(rows, 2) < 1.1 * edge)
