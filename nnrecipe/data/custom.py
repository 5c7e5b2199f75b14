"""The user's own data, named by import path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset, Subset

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.targets import Target, blaming, call_target
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.datasets import class_names, declared_labels, tensors_of
from nnrecipe.data.examples import as_labels, describe, uint8_or_float, with_channels
from nnrecipe.data.normalization import NoNormalization, Normalize
from nnrecipe.data.partition import subset
from nnrecipe.data.spec import DataSpec, Splits
from nnrecipe.data.split import ResidentSplit, Split
from nnrecipe.data.streamed import Source, Stream, StreamedSplit

PATH = "data.target"
RETURNS = "must return (train, val) or (train, val, test), each a Dataset of (image, label)"
READ_AT_ONCE = 64  # examples in a batch that is read only for its labels
SPOT_CHECKS = 32
SPARSE_LABELS = 1000  # more classes than examples are believed up to here


class Custom(DataSpec):
    """Datasets that a callable of the user's returns: `(train, val)` or `(train, val, test)`.

    They are taken as they come: floats are not scaled, uint8 and PIL images are as `pixels` says,
    and nothing is normalized unless `normalize` says so. TensorDatasets are held in memory; any
    other Dataset may be random, so each of its examples is read anew whenever it is needed.
    """

    kind: Literal["custom"] = "custom"
    target: Target = Field(description="the callable, as package.module:callable")
    args: dict[str, Any] = Field({}, description="keyword arguments for the callable")
    classes: Annotated[int, Field(strict=True, ge=2, le=100_000)] | None = Field(
        None, description="number of classes; else the Dataset's `classes`, else the labels tell"
    )
    normalize: Normalize = Field(
        NoNormalization(), description="centring and scaling by statistics of the training split"
    )

    def num_classes(self) -> int | None:
        """`classes`, if it is set."""
        return self.classes

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """See `DataSpec.build`. Raises `UserError` for whatever is wrong with the user's data."""
        with isolated_rng(seed, "data"):
            datasets = self._datasets(call_target(PATH, self.target, **self.args))
        labels = {
            name: self._labels(dataset, self._source(name), workers=workers)
            for name, dataset in datasets.items()
        }
        classes = self._class_names(datasets["train"], labels)
        kept = subset(labels["train"], self.limit, seed=seed)
        if len(kept) < len(labels["train"]):
            datasets["train"] = Subset(datasets["train"], kept.tolist())
            labels["train"] = labels["train"][kept]

        split = {
            name: self._split(name, dataset, labels[name], device=device, workers=workers)
            for name, dataset in datasets.items()
        }
        self._agree(split)
        splits = Splits(split["train"], split["val"], split.get("test"), classes)
        return self.bundle(splits, device=device)

    def _source(self, name: str) -> Source:
        return Source(PATH, f"{self.target}: {name}")

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

    def _labels(self, dataset: Dataset[Any], source: Source, *, workers: int) -> Tensor:
        """The class of every example, `[N]` int64 on the CPU.

        A Dataset's own list is believed if it agrees with some of the examples; else all are read.
        """
        tensors = tensors_of(dataset)
        where = f"{source.path}: {source.name}"
        if tensors is not None:
            if len(tensors) != 2:
                number = f"a TensorDataset of {len(tensors)} tensors"
                raise UserError(f"{where}: expected images and labels, got {number}")
            return as_labels(tensors[1].cpu(), where=where)
        stream = Stream(dataset, source, device=torch.device("cpu"), workers=workers)
        count = len(dataset)  # type: ignore[arg-type]
        declared = declared_labels(dataset)
        if declared is not None:
            places = torch.linspace(0, count - 1, min(count, SPOT_CHECKS)).long()
            if torch.equal(declared[places].double(), stream.fetch(places).targets.double()):
                return as_labels(declared.cpu(), where=where)
        chunks = torch.split(torch.arange(count), READ_AT_ONCE)
        return torch.cat([batch.targets for batch in stream.read(chunks)])

    def _class_names(self, train: Dataset[Any], labels: dict[str, Tensor]) -> tuple[str, ...]:
        """Names for all classes, also those that the training split lacks."""
        names = class_names(train)
        count = self.classes or (len(names) if names else 0) or self._infer_count(labels.values())
        for name, numbers in labels.items():
            if int(numbers.max()) >= count:
                found = f"label {int(numbers.max())} among {count} classes (0 ... {count - 1})"
                raise UserError(f"{PATH}: {self.target}: {name}: {found}: set data.classes")
        if count < 2:
            raise UserError(f"{PATH}: {self.target}: all labels are 0: set data.classes")
        return names if names and len(names) == count else tuple(map(str, range(count)))

    def _infer_count(self, labels: Iterable[Tensor]) -> int:
        """The largest label + 1. Raises `UserError` if that can't be a number of classes."""
        numbers = torch.cat(list(labels))
        count = int(numbers.max()) + 1
        if count > max(SPARSE_LABELS, len(numbers)):
            found = f"{len(numbers)} examples with labels up to {count - 1}"
            remedy = "number the classes 0, 1, 2, ..., or set data.classes"
            raise UserError(f"{PATH}: {self.target}: {found}: {remedy}")
        return count

    def _split(
        self,
        name: str,
        dataset: Dataset[Any],
        labels: Tensor,
        *,
        device: torch.device,
        workers: int,
    ) -> Split:
        tensors = tensors_of(dataset)
        if tensors is None:
            stream = Stream(dataset, self._source(name), device=device, workers=workers)
            return StreamedSplit(stream, labels)
        with blaming(PATH, f"{self.target}: {name}"):
            inputs = with_channels(uint8_or_float(tensors[0]))
        return ResidentSplit(inputs, labels, device=device)

    def _agree(self, splits: dict[str, Split]) -> None:
        """Raises `UserError` if the splits' examples differ in shape or type."""
        first = {
            name: split.examples(torch.tensor([0])).inputs[0] for name, split in splits.items()
        }
        for name, example in first.items():
            if (example.shape, example.dtype) != (first["train"].shape, first["train"].dtype):
                found = f"{describe(example)} in {name}, {describe(first['train'])} in train"
                raise UserError(f"{PATH}: {self.target}: examples must be alike, got {found}")
