"""Examples that lie in a file which is mapped into memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnrecipe.data.batch import Batch
from nnrecipe.data.split import Split

AHEAD = 2  # batches that a thread has read or is reading before they are asked for
KEPT = 0.5  # the share of the machine's memory up to which the system keeps a file that is read


class MappedSplit(Split):
    """The examples at `rows: [N]` of `inputs`, which is read as it is needed.

    Where they outgrow what the system keeps in memory, `workers` threads read the next batches, so
    that a slow disk is not waited for; of what is kept, a copy costs less than handing it over.
    That they are threads is enough, since copying holds no lock of Python's.
    """

    def __init__(
        self,
        inputs: np.ndarray[Any, Any],
        rows: np.ndarray[Any, Any],
        targets: Tensor,
        *,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.targets = targets.cpu()
        self._inputs = inputs
        self._rows = rows
        self._device = device
        self._workers = workers if inputs.nbytes > KEPT * _memory() else 0

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        seed: int | None = None,  # noqa: ARG002 (nothing here is random)
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        order = torch.arange(len(self)) if order is None else order.cpu()
        chunks = torch.split(order, batch_size)
        if not self._workers:
            yield from map(self.examples, chunks)
            return
        threads = ThreadPoolExecutor(self._workers)
        reading: deque[Future[Batch]] = deque()
        try:
            for chunk in chunks:
                reading.append(threads.submit(self._read, chunk))
                if len(reading) > AHEAD * self._workers:
                    yield self._deliver(reading.popleft().result())
            while reading:
                yield self._deliver(reading.popleft().result())
        finally:
            threads.shutdown(cancel_futures=True)

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        return self._deliver(self._read(indices.cpu()))

    def _read(self, indices: Tensor) -> Batch:
        inputs = torch.from_numpy(self._inputs.take(self._rows[indices.numpy()], axis=0))
        if self._device.type == "cuda":
            inputs = inputs.pin_memory()
        return Batch(inputs, self.targets[indices])

    def _deliver(self, batch: Batch) -> Batch:
        inputs, targets = batch
        return Batch(
            inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)
        )


def _memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
