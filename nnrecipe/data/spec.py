"""What all kinds of data have in common: the fields, and how raw splits become a `DataBundle`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Count, Spec
from nnrecipe.data.augmentation import Augment, Augmentation, obstacles
from nnrecipe.data.bundle import DataBundle, Pixels
from nnrecipe.data.normalization import Normalize, Standardize
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.split import Split

FIT_ELEMENTS = 2**20  # numbers at a time for the statistics: what a CPU's cache holds as float64


@dataclass(frozen=True)
class Splits:
    """Raw splits, and the places of their examples in the source, by the split's name."""

    train: Split
    val: Split
    test: Split | None
    classes: tuple[str, ...]
    indices: dict[str, list[int]] = field(default_factory=dict)


class DataSpec(Spec):
    """The fields of all kinds of data."""

    normalize: Normalize = Field(
        Standardize(), description="centring and scaling by statistics of the training split"
    )
    pixels: Pixels = Field(
        "unit", description="unit: divide uint8 by 255, to 0-1; raw: keep them in 0-255"
    )
    augment: tuple[Augment, ...] = Field(
        (), description="random changes of the training images, in this order"
    )
    limit: Count | None = Field(
        None, description="train on at most this many examples, the classes in proportion"
    )

    @abstractmethod
    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """Load the data for `device`; `seed` decides the splits, `workers` load in parallel."""

    def input_shape(self) -> InputShape | None:
        """One example's shape where it is known without touching the data, else None."""
        return None

    def num_classes(self) -> int | None:
        """The number of classes where it is known without touching the data, else None."""
        return None

    @model_validator(mode="after")
    def _images_can_be_augmented(self) -> Self:
        shape = self.input_shape()
        for path, reason in obstacles(self.augment, shape) if shape is not None else []:
            raise conflict(path, reason, "change it or leave it out")
        return self

    def bundle(self, splits: Splits, *, device: torch.device) -> DataBundle:
        """Fit the normalization on the training split, and put everything together.

        Raises `UserError` if the examples can't be augmented as declared.
        """
        example = splits.train.examples(torch.tensor([0])).inputs
        shape = tuple(example.shape[1:])
        for path, reason in obstacles(self.augment, shape):
            raise UserError(f"{path}: {reason}: change it or leave it out")
        preprocessing = self._fit(splits.train, shape).to(device)
        unit = float(preprocessing.unit)
        counts = splits.train.targets.bincount(minlength=len(splits.classes))
        return DataBundle(
            train=splits.train,
            val=splits.val,
            test=splits.test,
            classes=splits.classes,
            input_shape=shape,
            preprocessing=preprocessing,
            augmentation=Augmentation(
                self.augment, white=255 / unit if example.dtype == torch.uint8 else None
            ),
            indices=splits.indices,
            outputs=OutputSpec(len(splits.classes), tuple(counts.tolist())),
            normalization=self.normalize,
        )

    def _fit(self, train: Split, shape: InputShape) -> Preprocessing:
        unit = torch.tensor(255.0 if self.pixels == "unit" else 1.0)
        bare = Preprocessing(unit=unit, mean=torch.zeros(()), std=torch.ones(()))

        def pixels() -> Iterator[Tensor]:
            for inputs, _ in train.batches(max(1, FIT_ELEMENTS // math.prod(shape))):
                yield bare.to(inputs.device).pixels(inputs)

        mean, std = self.normalize.fit(pixels())
        return Preprocessing(unit=unit, mean=mean, std=std)
