"""Centring, scaling and whitening, with statistics that are fitted on the training split alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nnrecipe.core.errors import conflict
from nnrecipe.core.shapes import InputShape
from nnrecipe.core.spec import ByKind, Number, PositiveFloat, Spec
from nnrecipe.data.moments import Scope, covariance, moments

MOST_WHITENED = 4096
"""Features up to which whitening is offered: the matrix grows with their square, its
decomposition with their cube."""


@dataclass(frozen=True)
class Statistics:
    """What normalization subtracts, divides by and multiplies with, in this order.

    `mean` and `std` broadcast over `[N, ...]`; `whitening: [F, F]` acts on flattened examples.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None = None


class NormalizeSpec(Spec):
    """A way to bring the inputs to a common scale."""

    def check_inputs(self, inputs: InputShape) -> None:
        """Raises `ValueError`, with the reason, if examples of this shape can't take it."""

    @abstractmethod
    def fit(self, batches: Iterable[Tensor]) -> Statistics:
        """The statistics of all `batches` (each `[N, ...]`, in pixel units)."""


class _ByScope(NormalizeSpec):
    """Statistics that several numbers of an example may share."""

    per: Scope = Field(
        "channel",
        description="what has statistics of its own: each channel, each feature (every number of "
        "an example), or each pixel (position; its channels share them)",
    )

    def check_inputs(self, inputs: InputShape) -> None:
        """Refuses pixels in anything but images."""
        if self.per == "pixel" and len(inputs) != 3:
            raise ValueError(f"per: pixel needs images [C, H, W], and the examples are {[*inputs]}")


class NoNormalization(NormalizeSpec):
    """Leave the pixels as they are."""

    source = "lecture: data preprocessing"

    kind: Literal["none"] = "none"

    def fit(self, batches: Iterable[Tensor]) -> Statistics:  # noqa: ARG002
        """Mean 0 and spread 1, whatever the data."""
        return Statistics(torch.zeros(()), torch.ones(()))


class Center(_ByScope):
    """Subtract the training mean, and leave the spread; `per: feature` is the mean image."""

    source = "CS231n notes: data preprocessing, mean subtraction"

    kind: Literal["center"] = "center"

    def fit(self, batches: Iterable[Tensor]) -> Statistics:
        """The mean, and spread 1."""
        mean, _ = moments(batches, per=self.per)
        return Statistics(mean, torch.ones_like(mean))


class Standardize(_ByScope):
    """Subtract the training mean and divide by the training standard deviation."""

    source = "CS231n notes: data preprocessing, normalization"

    kind: Literal["standardize"] = "standardize"

    def fit(self, batches: Iterable[Tensor]) -> Statistics:
        """Mean and (biased) standard deviation.

        What doesn't vary has spread 1: it becomes 0 when centred, and stays 0.
        """
        mean, std = moments(batches, per=self.per)
        rounding = torch.finfo(torch.float32).eps * mean.abs()
        return Statistics(mean, torch.where(std <= rounding, 1.0, std))


class Fixed(NormalizeSpec):
    """Subtract a given mean and divide by a given spread, as a pretrained network is used to.

    The default is what ImageNet's networks expect of RGB images.
    """

    source = "torchvision.transforms.Normalize"

    kind: Literal["fixed"] = "fixed"
    mean: tuple[Number, ...] = Field(
        (0.485, 0.456, 0.406), min_length=1, description="of each channel, in pixel units"
    )
    std: tuple[PositiveFloat, ...] = Field(
        (0.229, 0.224, 0.225), min_length=1, description="of each channel, in pixel units"
    )

    @model_validator(mode="after")
    def _as_many_of_both(self) -> Self:
        if len(self.mean) != len(self.std):
            found = f"{len(self.mean)} means and {len(self.std)} spreads"
            raise conflict("data.normalize", found, "give one of each for every channel")
        return self

    def check_inputs(self, inputs: InputShape) -> None:
        """Refuses examples of more or fewer channels."""
        if inputs[0] != len(self.mean):
            raise ValueError(
                f"mean and std are of {len(self.mean)} channels, and the examples have {inputs[0]}"
            )

    def fit(self, batches: Iterable[Tensor]) -> Statistics:
        """The given numbers, whatever the data."""
        example = next(iter(batches))
        shape = (-1, *(1 for _ in example.shape[2:]))
        return Statistics(torch.tensor(self.mean).view(shape), torch.tensor(self.std).view(shape))


class Zca(NormalizeSpec):
    """Decorrelate the features, each then with spread 1, changing the images as little as can be.

    With the covariance `U diag(S) U^T` of the training examples, flattened to `[N, F]`, it is
    `(x - mean) @ U diag(S + eps)^(-1/2) U^T`. Directions of variance well above `eps` come to
    variance 1; those well below it, which hold little but noise, are kept from being blown up.
    """

    source = "Bell and Sejnowski 1997, section 3; eps from Coates and Ng 2012, section 2.1"

    kind: Literal["zca"] = "zca"
    # CS231n's 1e-5 whitens also what a few thousand examples can't tell of: the variance of unseen
    # CIFAR-10 images is then twice that of the training images, and 1.2 times with 1e-2.
    eps: PositiveFloat = Field(
        1e-2, description="added to each direction's variance, in squared pixel units"
    )

    def check_inputs(self, inputs: InputShape) -> None:
        """Refuses examples whose covariance would be too large."""
        features = math.prod(inputs)
        if features > MOST_WHITENED:
            raise ValueError(
                f"{features} features have a covariance of {features}x{features} numbers, "
                f"and whitening takes up to {MOST_WHITENED}"
            )

    def fit(self, batches: Iterable[Tensor]) -> Statistics:
        """The mean of every feature, spread 1, and the whitening matrix; all in float64."""
        mean, spread = covariance(batches)
        if not spread.isfinite().all():  # eigh would raise; like this, the data stage reports it
            return Statistics(mean, torch.ones_like(mean), torch.full_like(spread, torch.nan))
        variances, directions = torch.linalg.eigh(spread)
        # Rounding makes a variance of 0 slightly negative.
        scaled = directions * (variances.clamp_min(0) + self.eps).rsqrt()
        return Statistics(mean, torch.ones_like(mean), whitening=scaled @ directions.T)


Normalize = Annotated[
    NoNormalization | Center | Standardize | Fixed | Zca, ByKind(default="standardize")
]


def obstacles(normalize: Normalize, inputs: InputShape) -> list[tuple[str, str]]:
    """(YAML path, reason) why examples of this shape can't be normalized so: one, or none."""
    try:
        normalize.check_inputs(inputs)
    except ValueError as error:
        return [("data.normalize", f"{normalize.kind}: {error}")]
    return []
