"""The examples of one split, raw: uint8, or float32 where the user's own data are floats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from nnrecipe.data.batch import Batch
from nnrecipe.data.images import resize

RESIDENT_BYTES = 4 * 2**30
"""What fits in this many bytes is held in memory whole."""


class Split(ABC):
    """Examples that come in batches, on the device, neither augmented nor normalized."""

    targets: Tensor
    """Every example's, on the CPU: `[N]` int64 (classes) or `[N, D]` float32, see `Task`."""
    origin: object | None = None
    """The user's Dataset that examples are read from, if they are."""

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def batches(
        self, batch_size: int, *, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[Batch]:
        """The examples that `order: [M]` names, or all in sequence, `batch_size` at a time.

        `seed` is for the randomness of a user's Dataset; without one, each pass has another.
        """

    @abstractmethod
    def examples(self, indices: Tensor) -> Batch:
        """The examples at `indices: [M]`, as one batch."""

    def restart(self, seed: int) -> None:  # noqa: B027 (most kinds have nothing to restart)
        """Let passes that are given no seed draw, from now on, what follows from this one."""


class ResidentSplit(Split):
    """Examples held as one tensor, batched by indexing.

    They lie on the device, or, if they take more than `RESIDENT_BYTES`, on the CPU. The batches of
    a pass in sequence are views of that tensor: not to be written to. With a `size`, images come as
    squares of that side, resized batch by batch.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, *, device: torch.device, size: int | None = None
    ) -> None:
        home = device if inputs.nbytes <= RESIDENT_BYTES else torch.device("cpu")
        self.targets = targets.cpu()
        self._device = device
        self._size = size
        self._inputs = inputs.to(home)
        self._labels = targets.to(home)

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        seed: int | None = None,  # noqa: ARG002 (nothing here is random)
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        if order is None:
            pairs = zip(
                torch.split(self._inputs, batch_size),
                torch.split(self._labels, batch_size),
                strict=True,
            )
            yield from (self._deliver(inputs, labels) for inputs, labels in pairs)
            return
        for indices in torch.split(order.to(self._inputs.device), batch_size):
            yield self.examples(indices)

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        indices = indices.to(self._inputs.device)
        return self._deliver(
            self._inputs.index_select(0, indices), self._labels.index_select(0, indices)
        )

    def _deliver(self, inputs: Tensor, labels: Tensor) -> Batch:
        inputs = inputs.to(self._device, non_blocking=True)
        inputs = inputs if self._size is None else resize(inputs, self._size)
        return Batch(inputs, labels.to(self._device, non_blocking=True))
