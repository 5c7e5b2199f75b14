"""The data of a run: raw splits, and what turns them into what the network sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nnrecipe.core.shapes import Head, InputShape, OutputSpec
from nnrecipe.core.world import ALONE, World
from nnrecipe.data.augmentation import Augmentation
from nnrecipe.data.batch import Batch
from nnrecipe.data.normalization import Normalize
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.several import alone
from nnrecipe.data.split import Split

Pixels = Literal["unit", "raw"]


@dataclass(frozen=True)
class DataBundle:
    """Training, validation and test examples, and how they are preprocessed.

    `classes` are the names of the outputs, whatever the task; `outputs` says what the training
    targets are like. `input_shape` is one example's, as the network sees it. `indices` holds, for
    each split, its examples' places in the source; it is empty for the user's own data.
    `normalization` is what the recipe declares. `float_range` is the smallest and the largest
    number of the first training example where raw examples are floats; None where they are uint8.
    """

    train: Split
    val: Split
    test: Split | None
    classes: tuple[str, ...]
    input_shape: InputShape
    preprocessing: Preprocessing
    augmentation: Augmentation
    indices: dict[str, list[int]]
    outputs: OutputSpec
    normalization: Normalize
    float_range: tuple[float, float] | None = None

    def training_batches(
        self,
        batch_size: int,
        *,
        generator: torch.Generator,
        shuffle: bool = True,
        world: World = ALONE,
    ) -> Iterator[Batch]:
        """One epoch of the training split, augmented and normalized.

        The generator (on the CPU) decides the order and seeds the augmentation. A last batch of a
        single example is left out, as batch normalization can't train on it. Of several processes
        each gets its part of every batch, and augments it with draws of its own.
        """
        count = len(self.train)
        order = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
        seed = int(torch.randint(2**32, (), generator=generator))
        seed += world.rank
        draws = torch.Generator(self.preprocessing.mean.device).manual_seed(seed)
        order = order[: _examples_used(count, batch_size)]
        for inputs, targets in _read(self.train, order, batch_size, seed=seed, world=world):
            yield Batch(self._augmented(inputs, draws), targets)

    def steps_per_epoch(self, batch_size: int) -> int:
        """How many batches `training_batches` gives."""
        return math.ceil(_examples_used(len(self.train), batch_size) / batch_size)

    def batches(self, split: Split, batch_size: int, *, world: World = ALONE) -> Iterator[Batch]:
        """All examples of a split in sequence, normalized, never augmented.

        Of several processes each gets every so manieth batch.
        """
        order = None
        if not world.is_alone:
            chunks = torch.arange(len(split)).split(batch_size)[world.rank :: world.size]
            if not chunks:
                return
            order = torch.cat(chunks)
        for inputs, targets in split.batches(batch_size, order=order):
            yield Batch(self.preprocessing(inputs), targets)

    def examples(self, split: Split, indices: Tensor) -> Batch:
        """The examples of a split at `indices: [M]`, normalized, never augmented."""
        inputs, targets = split.examples(indices)
        return Batch(self.preprocessing(inputs), targets)

    def of(self, head: Head) -> DataBundle:
        """The same examples with the targets of one of several tasks."""
        return replace(
            self,
            train=alone(self.train, head),
            val=alone(self.val, head),
            test=None if self.test is None else alone(self.test, head),
            classes=head.names,
            outputs=head.outputs,
        )

    def restart(self, seed: int) -> None:
        """See `Split.restart`: what is read from now on doesn't depend on what was read before."""
        for split in (self.train, self.val, self.test):
            if split is not None:
                split.restart(seed)

    def _augmented(self, raw: Tensor, draws: torch.Generator) -> Tensor:
        moves, changes = self.augmentation.split()
        raw = moves(raw, draws)  # bytes, while they are that: a quarter of the memory to move
        if not changes:
            return self.preprocessing(raw)  # type: ignore[no-any-return]
        return self.preprocessing.normalize(changes(self.preprocessing.pixels(raw), draws))


def _read(
    split: Split, order: Tensor, batch_size: int, *, seed: int, world: World
) -> Iterator[Batch]:
    """The batches that `order` makes, or this process's part of each."""
    if world.is_alone:
        yield from split.batches(batch_size, order=order, seed=seed)
        return
    parts = [world.part(batch) for batch in order.split(batch_size)]
    *whole, last = parts
    if whole:
        yield from split.batches(len(whole[0]), order=torch.cat(whole), seed=seed)
    yield from split.batches(len(last), order=last, seed=seed + world.size)


def _examples_used(count: int, batch_size: int) -> int:
    alone = count % batch_size == 1 and batch_size > 1
    return count - 1 if alone and count > 1 else count
