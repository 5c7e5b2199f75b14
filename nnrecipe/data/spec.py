"""What all kinds of data have in common: the fields, and how raw splits become a `DataBundle`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import InputShape, OutputSpec, SingleTask, Task
from nnrecipe.core.spec import Count, Spec
from nnrecipe.data import augmentation, normalization
from nnrecipe.data.augmentation import Augment, Augmentation
from nnrecipe.data.bundle import DataBundle, Pixels
from nnrecipe.data.normalization import Normalize, Standardize
from nnrecipe.data.outputs import outputs_of
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.several import combine, heads_known, names_of
from nnrecipe.data.split import Split
from nnrecipe.data.tasks import Tasks, TaskTarget

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
    task: SingleTask = "single_label"


class DataSpec(Spec):
    """The fields of all kinds of data.

    Each kind also has a `task: SingleTask`, as field or property: what its own targets are.
    """

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
    tasks: Tasks | None = Field(
        None,
        description="several tasks for one network, each by its name with what its targets are: "
        "label, groups of classes, mean_intensity, ink_area or columns; null: the data's own",
    )

    @abstractmethod
    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """Load the data for `device`; `seed` decides the splits, `workers` load in parallel."""

    def input_shape(self) -> InputShape | None:
        """One example's shape where it is known without touching the data, else None."""
        return None

    def own_outputs(self) -> OutputSpec | None:
        """Those of the data's own targets, where they are known without touching the data."""
        return None

    def outputs(self) -> OutputSpec | None:
        """Task and number of outputs where they are known without touching the data, else None."""
        own = self.own_outputs()
        return own if self.tasks is None else heads_known(self.tasks, own)

    @property
    def predicts(self) -> Task:
        """What the targets are: the data's own, or those of several tasks."""
        raise NotImplementedError

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
        if self.tasks is None:
            size, task = len(splits.classes), splits.task
            outputs = outputs_of(splits.train.targets, size=size, task=task)
        else:
            splits, outputs = _retargeted(splits, self.tasks)
        return DataBundle(
            train=splits.train,
            val=splits.val,
            test=splits.test,
            classes=splits.classes,
            input_shape=shape,
            preprocessing=preprocessing,
            augmentation=Augmentation(self.augment, white=white),
            indices=splits.indices,
            outputs=outputs,
            normalization=self.normalize,
            float_range=None if levels else (float(example.min()), float(example.max())),
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


def _retargeted(splits: Splits, tasks: Mapping[str, TaskTarget]) -> tuple[Splits, OutputSpec]:
    """The splits with the targets of all tasks, and what a model of them puts out."""
    found = {"train": splits.train, "val": splits.val, "test": splits.test}
    present = {name: split for name, split in found.items() if split is not None}
    made, outputs = combine(tasks, present, names=splits.classes, task=splits.task)
    names, test = names_of(outputs.heads), made.get("test")
    retargeted = replace(splits, train=made["train"], val=made["val"], test=test, classes=names)
    return retargeted, outputs
