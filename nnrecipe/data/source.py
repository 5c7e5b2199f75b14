"""Data that nnrecipe reads and divides itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import SingleTask, Task
from nnrecipe.core.spec import Fraction
from nnrecipe.data.images import resize
from nnrecipe.data.partition import hold_out, subset
from nnrecipe.data.spec import DataSpec
from nnrecipe.data.split import RESIDENT_BYTES, ResidentSplit, Split


class SourceSpec(DataSpec):
    """The fields of the kinds of data that nnrecipe reads and divides itself."""

    root: Path = Field(
        default_factory=lambda: Path(os.environ.get("NNRECIPE_DATA", "data")),
        description="folder of the data; by default the variable NNRECIPE_DATA, else data/",
    )
    val_fraction: Fraction = Field(
        0.1, description="share of the training examples that is held out for validation"
    )
    image_size: Annotated[int, Field(strict=True, ge=1, le=2048)] | None = Field(
        None, description="resize all images to a square of this side, in pixels"
    )

    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = Field(
        None, description="names of the classes to use, numbered in this order; null: all"
    )

    @field_validator("classes")
    @classmethod
    def _names_each_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in classes or () if (classes or ()).count(name) > 1})
        if twice:
            raise conflict("data.classes", f"{', '.join(twice)} is there twice", "name each once")
        return classes

    @property
    def task(self) -> SingleTask:
        """Classes, but for `digits`."""
        return "single_label"

    @property
    def predicts(self) -> Task:
        """See `DataSpec.predicts`."""
        return self.task if self.tasks is None else "several"

    def renumbered(self, targets: Tensor, names: Sequence[str]) -> Tensor:
        """The examples' numbers `[N]` among the chosen classes; -1 where theirs isn't chosen.

        `names` are those of all classes. Raises `UserError` for a class that isn't among them.
        """
        chosen = chosen_names(self.classes, names)
        numbers = torch.full((len(names),), -1)
        numbers[[names.index(name) for name in chosen]] = torch.arange(len(chosen))
        return numbers[targets]

    def divide(
        self, targets: Tensor, classes: Sequence[str], *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Indices of the training (at most `limit`) and validation examples among `targets`.

        Raises `UserError` if a class has too few examples for both.
        """
        train, val = hold_out(
            targets, self.val_fraction, seed=seed, path="data.val_fraction", classes=classes
        )
        return train[subset(targets[train], self.limit, seed=seed)], val


def chosen_names(wanted: Sequence[str] | None, names: Sequence[str]) -> tuple[str, ...]:
    """The classes that `data.classes` names, or all. Raises `UserError` for unknown ones."""
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise UserError(
            f"data.classes: no class {', '.join(map(repr, unknown))}: the data have "
            f"{', '.join(names)}"
        )
    return tuple(wanted or names)


@dataclass(frozen=True)
class Images:
    """Images in memory: `pixels: [N, C, H, W]` uint8, and their targets.

    With a `size`, each batch is resized to squares of that side when it is needed.
    """

    pixels: Tensor
    targets: Tensor
    size: int | None = None

    def labelled(self, targets: Tensor) -> Images:
        """With other `targets: [N]`, and without the images whose target is negative."""
        kept = targets >= 0
        if kept.all():
            return replace(self, targets=targets)
        return replace(self, pixels=self.pixels[kept], targets=targets[kept])

    def resized(self, size: int | None) -> Images:
        """As squares of side `size`, now if that fits in memory; None leaves them as they are."""
        if size is None:
            return self
        if len(self.pixels) * self.pixels.shape[1] * size**2 > RESIDENT_BYTES:
            return replace(self, size=size)
        return Images(resize(self.pixels, size), self.targets)

    def split(self, indices: Tensor, *, device: torch.device) -> Split:
        """The images at `indices`, held on the device."""
        return Images(self.pixels[indices], self.targets[indices], self.size).whole(device=device)

    def whole(self, *, device: torch.device) -> Split:
        """All images, held on the device."""
        return ResidentSplit(self.pixels, self.targets, device=device, size=self.size)
