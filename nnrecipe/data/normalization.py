"""Centring and scaling, with statistics that are fitted on the training split alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.spec import ByKind, Spec

Scope = Literal["channel", "feature"]


class NoNormalization(Spec):
    """Leave the pixels as they are."""

    kind: Literal["none"] = "none"

    def fit(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Mean 0 and spread 1, whatever the data."""
        return torch.zeros(()), torch.ones(())


class Center(Spec):
    """Subtract the training mean, and leave the spread (CS231n's mean image is `per: feature`)."""

    kind: Literal["center"] = "center"
    per: Scope = Field(
        "channel", description="one mean for each channel, or for each feature (pixel)"
    )

    def fit(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """The mean over `batches` (each `[N, ...]`, in pixel units), and spread 1."""
        mean, _ = moments(batches, per=self.per)
        return mean, torch.ones_like(mean)


class Standardize(Spec):
    """Subtract the training mean and divide by the training standard deviation."""

    kind: Literal["standardize"] = "standardize"
    per: Scope = Field(
        "channel", description="one mean and spread for each channel, or for each feature (pixel)"
    )

    def fit(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over `batches` (each `[N, ...]`, in pixel units).

        What doesn't vary has spread 1: it becomes 0 when centred, and stays 0.
        """
        mean, std = moments(batches, per=self.per)
        rounding = torch.finfo(torch.float32).eps * mean.abs()
        return mean, torch.where(std <= rounding, 1.0, std)


Normalize = Annotated[NoNormalization | Center | Standardize, ByKind(default="standardize")]


def moments(batches: Iterable[Tensor], *, per: Scope) -> tuple[Tensor, Tensor]:
    """Mean and (biased) standard deviation in one pass, in float64: `[C, 1, 1]` or `[C, H, W]`.

    Each batch's own moments are merged into the running ones: Chan, Golub and LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    count = 0
    mean = squares = torch.zeros((), dtype=torch.float64)  # squares: summed squared deviations
    for batch in batches:
        dims = [0] if per == "feature" else [dim for dim in range(batch.ndim) if dim != 1]
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
