"""Several tasks on the same examples: what each one's targets are, and how they lie together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import Tensor

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import OutputSpec, SingleTask
from nnrecipe.core.spec import ByKind, Count, Fraction, NonNegativeInt, Spec
from nnrecipe.data.labels import as_targets

if TYPE_CHECKING:
    from nnrecipe.data.split import Split

READ_AT_ONCE = 1024
"""Examples in a batch that is read to be measured."""
WHITE = 255
MOST_CLASSES = 2**24
"""Beyond it a class's number wouldn't come through float32 as it is."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
"""What a task may be called: it becomes part of the names of metrics and files."""


class TaskTarget(Spec):
    """What one of several tasks is about.

    `names` are those of the data's own outputs: the classes, say.
    """

    kind: str

    def outputs(self, own: OutputSpec | None) -> OutputSpec | None:
        """Task and number of outputs, `own` being the data's; None where that isn't known yet."""
        raise NotImplementedError

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the outputs."""
        raise NotImplementedError

    def of(self, split: Split, *, names: tuple[str, ...], task: SingleTask, path: str) -> Tensor:
        """The targets of a split, `[N]` int64 or `[N, D]` float32 on the CPU.

        `names` and `task` are those of the split's own targets. Raises `UserError` that begins with
        `path` if they don't give these.
        """
        raise NotImplementedError


class Label(TaskTarget):
    """The data's own target."""

    source = "the data"

    kind: Literal["label"] = "label"

    def outputs(self, own: OutputSpec | None) -> OutputSpec | None:
        """The data's."""
        return own

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """The data's."""
        return own

    def of(self, split: Split, *, names: tuple[str, ...], task: SingleTask, path: str) -> Tensor:  # noqa: ARG002
        """See `TaskTarget.of`."""
        return split.targets


class Groups(TaskTarget):
    """The group that an example's class belongs to: `{top: [shirt, coat], shoe: [boot]}`."""

    source = "Caruana 1997"

    kind: Literal["groups"] = "groups"
    groups: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        min_length=2, description="the classes of each group; every class is in one"
    )

    @field_validator("groups")
    @classmethod
    def _each_class_once(cls, groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        listed = [name for members in groups.values() for name in members]
        twice = sorted({name for name in listed if listed.count(name) > 1})
        if twice:
            raise conflict("data.tasks", f"{', '.join(twice)} is in two groups", "put it in one")
        return groups

    def outputs(self, own: OutputSpec | None) -> OutputSpec:  # noqa: ARG002 - the family's verb
        """One for each group."""
        return OutputSpec(len(self.groups))

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002 - the family's verb
        """The groups', in their order."""
        return tuple(self.groups)

    def of(self, split: Split, *, names: tuple[str, ...], task: SingleTask, path: str) -> Tensor:
        """See `TaskTarget.of`."""
        if task != "single_label":
            raise UserError(f"{path}: groups are of classes, and the data are {task}: use label")
        group = {name: i for i, members in enumerate(self.groups.values()) for name in members}
        if unknown := [name for name in group if name not in names]:
            found = f"no class {', '.join(map(repr, unknown))}"
            raise UserError(f"{path}.groups: {found}: the data have {', '.join(names)}")
        if missing := [name for name in names if name not in group]:
            found = f"{', '.join(missing)} in no group"
            raise UserError(f"{path}.groups: {found}: put every class into one")
        return torch.tensor([group[name] for name in names])[split.targets]


class Measured(TaskTarget):
    """A number that is measured on each example as it is read, before any augmentation."""

    def outputs(self, own: OutputSpec | None) -> OutputSpec:  # noqa: ARG002 - the family's verb
        """One number."""
        return OutputSpec(1, task="regression")

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002 - the family's verb
        """The measure's."""
        return (self.kind,)

    def of(self, split: Split, *, names: tuple[str, ...], task: SingleTask, path: str) -> Tensor:  # noqa: ARG002
        """See `TaskTarget.of`: one pass over the split."""
        values = []
        for inputs, _ in split.batches(READ_AT_ONCE):
            unit = WHITE if inputs.dtype == torch.uint8 else 1
            values.append(self.measure(inputs.double().flatten(1) / unit).float().cpu())
        return torch.cat(values).unsqueeze(1)

    def measure(self, pixels: Tensor) -> Tensor:
        """`pixels: [N, P]`, 0 to 1 where they were bytes -> [N]."""
        raise NotImplementedError


class MeanIntensity(Measured):
    """The mean of an image's pixels, 0 (black) to 1 (white)."""

    source = "the image"

    kind: Literal["mean_intensity"] = "mean_intensity"

    def measure(self, pixels: Tensor) -> Tensor:
        """See `Measured.measure`."""
        return pixels.mean(1)


class InkArea(Measured):
    """The share of an image's pixels that are brighter than a threshold."""

    source = "the image"

    kind: Literal["ink_area"] = "ink_area"
    threshold: Fraction = Field(0.5, description="brightness from which a pixel counts, 0-1")

    def measure(self, pixels: Tensor) -> Tensor:
        """See `Measured.measure`."""
        return (pixels > self.threshold).double().mean(1)


class Columns(TaskTarget):
    """Some columns of rows that the data have as their targets (data.task: regression)."""

    source = "your own data"

    kind: Literal["columns"] = "columns"
    columns: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = Field(
        description="their places in a row, from 0"
    )
    task: SingleTask = Field(
        "regression",
        description="what they are: single_label: a class number; multi_label: 0 and 1; "
        "regression: numbers",
    )
    classes: Count | None = Field(None, description="number of classes; null: as the rows tell")

    @model_validator(mode="after")
    def _a_class_is_one_number(self) -> Columns:
        if self.task == "single_label" and len(self.columns) != 1:
            message = f"{len(self.columns)} columns, and a class's number is one"
            raise conflict("data.tasks", message, "name one column")
        return self

    def outputs(self, own: OutputSpec | None) -> OutputSpec | None:  # noqa: ARG002
        """One for each column, or class."""
        if self.task != "single_label":
            return OutputSpec(len(self.columns), task=self.task)
        return None if self.classes is None else OutputSpec(self.classes)

    def names(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the columns; of classes none, as the targets tell how many there are."""
        if self.task == "single_label":
            return ()
        return tuple(own[place] if place < len(own) else str(place) for place in self.columns)

    def of(self, split: Split, *, names: tuple[str, ...], task: SingleTask, path: str) -> Tensor:
        """See `TaskTarget.of`."""
        if task == "single_label" or max(self.columns) >= len(names):
            found = "class numbers" if task == "single_label" else f"rows of {len(names)}"
            remedy = "name columns of rows (data.task: regression)"
            raise UserError(
                f"{path}.columns: {list(self.columns)}: the data have {found}: {remedy}"
            )
        rows = as_targets(split.targets[:, list(self.columns)], task=self.task, where=path)
        if self.task == "single_label" and int(rows.max()) >= (self.classes or MOST_CLASSES):
            found = f"{self.classes}: a row has class {int(rows.max())}"
            raise UserError(f"{path}.classes: {found}: give one more than the largest number")
        return rows


AnyTaskTarget = Annotated[Label | Groups | MeanIntensity | InkArea | Columns, ByKind()]


def _named(tasks: dict[str, TaskTarget]) -> dict[str, TaskTarget]:
    """Refuse what can't be part of a name."""
    for name in tasks:
        if not NAME.fullmatch(name):
            message = "a task's name is made of up to 30 lower-case letters, digits and _"
            raise conflict(f"data.tasks.{name}", message, "rename it")
    return tasks


Tasks = Annotated[dict[str, AnyTaskTarget], Field(min_length=1), AfterValidator(_named)]
