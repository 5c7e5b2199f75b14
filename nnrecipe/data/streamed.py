"""Examples that are read from a Dataset as they are needed, in parallel if there are workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import derive_seed, isolated_rng, seed_everything
from nnrecipe.core.shapes import SingleTask
from nnrecipe.core.targets import blaming
from nnrecipe.data.batch import Batch
from nnrecipe.data.examples import as_input, describe, with_channels
from nnrecipe.data.labels import as_target
from nnrecipe.data.split import Split

Request = tuple[int, list[int]]
"""A batch to read: a seed for the Dataset's own randomness, and indices."""


@dataclass(frozen=True)
class Source:
    """Where a Dataset comes from, for messages, and what its targets are.

    `path` is the YAML path, `name` the Dataset's (`my:data: train`).
    """

    path: str
    name: str
    task: SingleTask = "single_label"


class StreamedSplit(Split):
    """Examples of a Dataset whose targets are known."""

    def __init__(self, stream: Stream, targets: Tensor) -> None:
        self.origin = stream.dataset
        self.targets = targets
        self._stream = stream

    def batches(
        self, batch_size: int, *, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        order = torch.arange(len(self)) if order is None else order.cpu()
        return self._stream.read(torch.split(order, batch_size), seed=seed)

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        return self._stream.fetch(indices)

    def restart(self, seed: int) -> None:
        """See `Split.restart`."""
        self._stream.restart(seed)


class Stream:
    """Reads batches of a Dataset on to the device, in this process or in workers.

    What the Dataset draws from the global generators of python, numpy and torch is seeded batch by
    batch: the same whatever the number of workers, and without a trace on this process's own.
    """

    def __init__(
        self, dataset: Dataset[Any], source: Source, *, device: torch.device, workers: int = 0
    ) -> None:
        """Reads the first example, which all others must be like. Raises `UserError`."""
        self._device = device
        self._workers = workers
        self.dataset = dataset
        self._reader = _Reader(dataset, source)
        self._passes = itertools.count()
        self._idle: tuple[_Requests, DataLoader[Any]] | None = None

    def read(self, chunks: Sequence[Tensor], *, seed: int | None = None) -> Iterator[Batch]:
        """The batches of examples that `chunks` (indices) name. Raises `UserError`."""
        # A pass that starts within another gets workers of its own.
        requests, loader = self._idle or self._start()
        self._idle = None
        requests.chunks = chunks
        requests.seed = next(self._passes) if seed is None else seed
        try:
            for batch in loader:
                yield self._deliver(batch)
        finally:
            self._idle = requests, loader

    def fetch(self, indices: Tensor) -> Batch:
        """The examples at `indices: [M]`, read in this process. Raises `UserError`."""
        return self._deliver(self._reader[derive_seed(next(self._passes)), indices.tolist()])

    def restart(self, seed: int) -> None:
        """See `Split.restart`."""
        self._passes = itertools.count(seed)

    def _start(self) -> tuple[_Requests, DataLoader[Any]]:
        requests = _Requests()
        loader: DataLoader[Any] = DataLoader(
            self._reader,
            batch_size=None,
            sampler=requests,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else each pass would draw from the global one
        )
        return requests, loader

    def _deliver(self, batch: Batch | str) -> Batch:
        if isinstance(batch, str):
            raise UserError(batch)
        inputs, targets = batch
        return Batch(
            inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)
        )


class _Requests:
    """The sampler of a `Stream`: what to read in the next pass."""

    def __init__(self) -> None:
        self.chunks: Sequence[Tensor] = ()
        self.seed = 0

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Request]:
        for number, chunk in enumerate(self.chunks):
            yield derive_seed(self.seed, number), chunk.tolist()


class _Reader(Dataset[Any]):
    """Turns a request into a batch; or into what is wrong, which no worker can raise whole."""

    def __init__(self, dataset: Dataset[Any], source: Source) -> None:
        self._dataset = dataset
        self._source = source
        with isolated_rng(0):
            self._first = self._example(0)

    def __getitem__(self, request: Request) -> Batch | str:
        seed, indices = request
        try:
            if get_worker_info() is not None:
                seed_everything(seed)
                return self._read(indices)
            with isolated_rng(seed):
                return self._read(indices)
        except UserError as error:
            return str(error)

    def _read(self, indices: list[int]) -> Batch:
        examples = [self._example(index) for index in indices]
        first, first_target = self._first
        for index, (example, target) in zip(indices, examples, strict=True):
            if (example.shape, example.dtype) != (first.shape, first.dtype):
                raise UserError(
                    f"{self._where(index)} is {describe(example)}, but the first example is "
                    f"{describe(first)}: make all alike (resize or crop the images)"
                )
            if target.shape != first_target.shape:
                raise UserError(
                    f"{self._where(index)} has {len(target)} targets, but the first example has "
                    f"{len(first_target)}: make all alike"
                )
        inputs, targets = (torch.stack(values) for values in zip(*examples, strict=True))
        return Batch(with_channels(inputs), targets)

    def _example(self, index: int) -> Batch:
        where = self._where(index)
        with blaming(self._source.path, f"{self._source.name}[{index}]"):
            item = self._dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{where}: expected (image, label), got {type(item).__name__}")
        target = as_target(item[1], task=self._source.task, where=where)
        return Batch(as_input(item[0], where=where), target)

    def _where(self, index: int) -> str:
        return f"{self._source.path}: {self._source.name}[{index}]"
