"""The user's own data, named by import path."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset, Subset

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import OutputSpec, SingleTask, Task
from nnrecipe.core.targets import Target, blaming, call_target
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.datasets import class_names, declared_targets, tensors_of
from nnrecipe.data.examples import describe, uint8_or_float, with_channels
from nnrecipe.data.labels import as_targets
from nnrecipe.data.normalization import NoNormalization, Normalize
from nnrecipe.data.outputs import output_names
from nnrecipe.data.partition import subset
from nnrecipe.data.spec import DataSpec, Splits
from nnrecipe.data.split import ResidentSplit, Split
from nnrecipe.data.streamed import Source, Stream, StreamedSplit

PATH = "data.target"
RETURNS = "must return (train, val) or (train, val, test), each a Dataset of (image, label)"
READ_AT_ONCE = 64  # examples in a batch that is read only for its targets
SPOT_CHECKS = 32


class Custom(DataSpec):
    """Datasets that a callable of the user's returns: `(train, val)` or `(train, val, test)`.

    They are taken as they come: floats are not scaled, uint8 and PIL images are as `pixels` says,
    and nothing is normalized unless `normalize` says so. TensorDatasets are held in memory; any
    other Dataset may be random, so each of its examples is read anew whenever it is needed. An
    example is an image or a row of numbers, and a target; what that is, `task` says.
    """

    source = "torch.utils.data.Dataset"

    kind: Literal["custom"] = "custom"
    target: Target = Field(description="the callable, as package.module:callable")
    args: dict[str, Any] = Field({}, description="keyword arguments for the callable")
    task: SingleTask = Field(
        "single_label",
        description="what the Dataset's second value is. single_label: a class number; "
        "multi_label: a row of 0 and 1, one for each label; regression: a number or a row of them",
    )
    classes: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = Field(
        None,
        description="number of classes, labels or numbers to predict; else the Dataset's `classes` "
        "or its targets tell",
    )
    normalize: Normalize = Field(
        NoNormalization(), description="centring and scaling by statistics of the training split"
    )

    @model_validator(mode="after")
    def _one_class_is_no_choice(self) -> Self:
        if self.task == "single_label" and self.classes == 1:
            remedy = "give at least 2, or set data.task"
            raise conflict("data.classes", "1 class leaves nothing to tell apart", remedy)
        return self

    @property
    def predicts(self) -> Task:
        """See `DataSpec.predicts`."""
        return self.task if self.tasks is None else "several"

    def own_outputs(self) -> OutputSpec | None:
        """As `classes` says, if it is set."""
        return None if self.classes is None else OutputSpec(self.classes, task=self.task)

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """See `DataSpec.build`. Raises `UserError` for whatever is wrong with the user's data."""
        with isolated_rng(seed, "data"):
            datasets = self._datasets(call_target(PATH, self.target, **self.args))
        targets = {
            name: self._targets(dataset, self._source(name), workers=workers)
            for name, dataset in datasets.items()
        }
        names = output_names(
            class_names(datasets["train"]),
            targets,
            declared=self.classes,
            where=f"{PATH}: {self.target}",
        )
        kept = subset(targets["train"], self.limit, seed=seed)
        if len(kept) < len(targets["train"]):
            datasets["train"] = Subset(datasets["train"], kept.tolist())
            targets["train"] = targets["train"][kept]

        split = {
            name: self._split(name, dataset, targets[name], device=device, workers=workers)
            for name, dataset in datasets.items()
        }
        self._agree(split)
        splits = Splits(split["train"], split["val"], split.get("test"), names, task=self.task)
        return self.bundle(splits, device=device)

    def _source(self, name: str) -> Source:
        return Source(PATH, f"{self.target}: {name}", self.task)

    def _datasets(self, returned: Any) -> dict[str, Dataset[Any]]:
        """The Datasets by name, with something in each."""
        if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
            number = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
            found = f"got {type(returned).__name__}{number}"
            raise UserError(f"{PATH}: {self.target} {RETURNS}; {found}")
        datasets = dict(zip(("train", "val", "test"), returned, strict=False))
        for name, dataset in datasets.items():
            if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
                lacks = "which can't be indexed or has no length"
                found = f"{name} is {type(dataset).__name__}, {lacks}"
                raise UserError(f"{PATH}: {self.target} {RETURNS}; {found}")
            with blaming(PATH, f"len() of {self.target}: {name}"):
                empty = len(dataset) == 0
            if empty:
                raise UserError(f"{PATH}: {self.target}: {name} is empty")
        return datasets

    def _targets(self, dataset: Dataset[Any], source: Source, *, workers: int) -> Tensor:
        """Every example's, `[N]` int64 or `[N, D]` float32 on the CPU.

        A Dataset's own list is believed if it agrees with some of the examples; else all are read.
        """
        tensors = tensors_of(dataset)
        where = f"{source.path}: {source.name}"
        if tensors is not None:
            if len(tensors) != 2:
                number = f"a TensorDataset of {len(tensors)} tensors"
                raise UserError(f"{where}: expected images and labels, got {number}")
            return as_targets(tensors[1], task=self.task, where=where)
        stream = Stream(dataset, source, device=torch.device("cpu"), workers=workers)
        count = len(dataset)  # type: ignore[arg-type]
        declared = declared_targets(dataset)
        if declared is not None:
            places = torch.linspace(0, count - 1, min(count, SPOT_CHECKS)).long()
            if _same(declared[places], stream.fetch(places).targets):
                return as_targets(declared, task=self.task, where=where)
        chunks = torch.split(torch.arange(count), READ_AT_ONCE)
        return torch.cat([batch.targets for batch in stream.read(chunks)])

    def _split(
        self,
        name: str,
        dataset: Dataset[Any],
        targets: Tensor,
        *,
        device: torch.device,
        workers: int,
    ) -> Split:
        tensors = tensors_of(dataset)
        if tensors is None:
            stream = Stream(dataset, self._source(name), device=device, workers=workers)
            return StreamedSplit(stream, targets)
        with blaming(PATH, f"{self.target}: {name}"):
            inputs = with_channels(uint8_or_float(tensors[0]))
        return ResidentSplit(inputs, targets, device=device)

    def _agree(self, splits: dict[str, Split]) -> None:
        """Raises `UserError` if the splits' examples differ in shape or type."""
        first = {
            name: split.examples(torch.tensor([0])).inputs[0] for name, split in splits.items()
        }
        for name, example in first.items():
            if (example.shape, example.dtype) != (first["train"].shape, first["train"].dtype):
                found = f"{describe(example)} in {name}, {describe(first['train'])} in train"
                raise UserError(f"{PATH}: {self.target}: examples must be alike, got {found}")


def _same(declared: Tensor, found: Tensor) -> bool:
    """Whether a Dataset's own list holds the targets that its examples have."""
    rows = declared.reshape(len(found), -1)
    # Targets that are numbers have been rounded to float32.
    rows = rows.float() if found.is_floating_point() else rows
    return torch.equal(rows.double(), found.reshape(len(found), -1).double())
