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
from nnrecipe.core.shapes import InputShape, OutputSpec, Task
from nnrecipe.core.spec import Count, Spec
from nnrecipe.data import augmentation, normalization
from nnrecipe.data.augmentation import Augment, Augmentation
from nnrecipe.data.bundle import DataBundle, Pixels
from nnrecipe.data.normalization import Normalize, Standardize
from nnrecipe.data.outputs import outputs_of
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.split import Split

REMEDY = "change it or leave it out"
FIT_ELEMENTS = 2**20  # numbers at a time for the statistics: what a CPU's cache holds as float64


@dataclass(frozen=True)
class Splits:
    """Raw splits, the names of the outputs, and what the targets are.

    `indices` has the places of the examples in the source, by the split's name.
    """

    train: Split
    val: Split
    test: Split | None
    classes: tuple[str, ...]
    indices: dict[str, list[int]] = field(default_factory=dict)
    task: Task = "single_label"


class DataSpec(Spec):
    """The fields of all kinds of data. Each kind also has a `task: Task`, as field or property."""

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
        None, description="train on at most this many examples; classes stay in proportion"
    )

    @abstractmethod
    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """Load the data for `device`; `seed` decides the splits, `workers` load in parallel."""

    def input_shape(self) -> InputShape | None:
        """One example's shape where it is known without touching the data, else None."""
        return None

    def outputs(self) -> OutputSpec | None:
        """Task and number of outputs where they are known without touching the data, else None."""
        return None

    @model_validator(mode="after")
    def _examples_can_take_it(self) -> Self:
        shape = self.input_shape()
        for path, reason in self._obstacles(shape) if shape is not None else []:
            raise conflict(path, reason, REMEDY)
        return self

    def bundle(self, splits: Splits, *, device: torch.device) -> DataBundle:
        """Fit the normalization on the training split, and put everything together.

        Raises `UserError` if the examples can't be normalized or augmented as declared.
        """
        example = splits.train.examples(torch.tensor([0])).inputs
        shape = tuple(example.shape[1:])
        levels = example.dtype == torch.uint8
        for path, reason in self._obstacles(shape, levels=levels):
            raise UserError(f"{path}: {reason}: {REMEDY}")
        preprocessing = self._fit(splits.train, shape).to(device)
        white = 255 / float(preprocessing.unit) if levels else None
        size = len(splits.classes)
        return DataBundle(
            train=splits.train,
            val=splits.val,
            test=splits.test,
            classes=splits.classes,
            input_shape=shape,
            preprocessing=preprocessing,
            augmentation=Augmentation(self.augment, white=white),
            indices=splits.indices,
            outputs=outputs_of(splits.train.targets, size=size, task=splits.task),
            normalization=self.normalize,
        )

    def _obstacles(self, shape: InputShape, *, levels: bool = True) -> list[tuple[str, str]]:
        """(YAML path, reason) of all that examples of this shape, uint8 or floats, can't take."""
        return [
            *normalization.obstacles(self.normalize, shape),
            *augmentation.obstacles(self.augment, shape, levels=levels),
        ]

    def _fit(self, train: Split, shape: InputShape) -> Preprocessing:
        unit = torch.tensor(255.0 if self.pixels == "unit" else 1.0)
        bare = Preprocessing(unit=unit, mean=torch.zeros(()), std=torch.ones(()))

        def pixels() -> Iterator[Tensor]:
            for inputs, _ in train.batches(max(1, FIT_ELEMENTS // math.prod(shape))):
                yield bare.to(inputs.device).pixels(inputs)

        found = self.normalize.fit(pixels())
        return Preprocessing(unit=unit, mean=found.mean, std=found.std, whitening=found.whitening)
