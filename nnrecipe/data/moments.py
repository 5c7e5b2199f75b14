"""Mean, spread and covariance of examples that come in batches: in one pass, in float64.

Each batch's own moments are merged into the running ones: Chan, Golub and LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["channel", "feature", "pixel"]
"""What has statistics of its own: a channel, every number of an example, or every position."""


def moments(batches: Iterable[Tensor], *, per: Scope) -> tuple[Tensor, Tensor]:
    """Mean and (biased) standard deviation of `batches` (each `[N, C, ...]`).

    For images both are `[C, 1, 1]` per channel, `[C, H, W]` per feature, `[1, H, W]` per pixel.
    """
    count = 0
    mean = squares = torch.zeros((), dtype=torch.float64)  # squares: summed squared deviations
    for batch in batches:
        dims = _shared(batch, per=per)
        values = batch.double()
        batch_mean = values.mean(dims, keepdim=True)
        batch_squares = (values - batch_mean).square_().sum(dims, keepdim=True)
        added = values.numel() // batch_mean.numel()
        if count == 0:
            count, mean, squares = added, batch_mean, batch_squares
            continue
        total, delta = count + added, batch_mean - mean
        mean = mean + delta * (added / total)
        squares = squares + batch_squares + delta.square() * (count * added / total)
        count = total
    return mean[0], (squares[0] / count).sqrt()


def covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean `[...]` and (biased) covariance `[F, F]` of `batches` (each `[N, ...]`, flattened)."""
    count = 0
    mean = products = torch.zeros((), dtype=torch.float64)  # products: summed, of deviations
    shape = torch.Size()
    for batch in batches:
        shape = batch.shape[1:]
        values = batch.flatten(1).double()
        batch_mean = values.mean(0)
        deviations = values - batch_mean
        added = len(values)
        if count == 0:
            count, mean, products = added, batch_mean, deviations.T @ deviations
            continue
        total, delta = count + added, batch_mean - mean
        mean = mean + delta * (added / total)
        products.addmm_(deviations.T, deviations)
        products.addr_(delta, delta, alpha=count * added / total)
        count = total
    return mean.view(shape), products / count


def _shared(batch: Tensor, *, per: Scope) -> list[int]:
    """The dimensions over which the statistics are taken."""
    match per:
        case "channel":
            return [dim for dim in range(batch.ndim) if dim != 1]
        case "pixel":
            return [0, 1]
        case "feature":
            return [0]
