"""What the data checks look at: a sample of each split, read once and shared among them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.checks.bench import SAMPLE_ELEMENTS, Bench
from nnrecipe.core.seeding import generator
from nnrecipe.data import Split
from nnrecipe.data.batch import Batch

TRAIN, OTHERS, AGAIN, AUGMENTED = 2000, 1000, 200, 1000
"""Examples of the training split, of the others, those that are read again, and augmented ones."""
LARGEST_SIDE = 64
"""In pixels. Larger images are averaged over squares: what is asked here shows in small ones."""
REPEATED_IMAGES, REPEATED_ROWS = 0.5, 0.95
"""Shares of the examples that are the same one, from which inputs are as good as constant."""
CHUNK = 100
PATIENCE = 3.0
"""Seconds after which a split that is slow to read has been read enough."""


@dataclass(frozen=True)
class Reading:
    """Examples as the model sees them, on the CPU.

    `inputs: [N, ...]` float32, `targets` as in `Split`, and `places: [N]` in the split.
    """

    inputs: Tensor
    targets: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def first(self, count: int) -> Reading:
        """The first `count` of them, which are as random as all."""
        return Reading(self.inputs[:count], self.targets[:count], self.places[:count])

    def at(self, indices: Tensor) -> Reading:
        """Those at `indices: [M]`, or where a mask `[N]` is true."""
        return Reading(self.inputs[indices], self.targets[indices], self.places[indices])

    @cached_property
    def repeated(self) -> float:
        """The share of the examples that are the same as the most frequent one."""
        numbers = self.inputs.nan_to_num(0.0, 0.0, 0.0).flatten(1)
        weights = torch.linspace(0.5, 1.5, numbers.shape[1])
        _, counts = (numbers @ weights).unique(return_counts=True)
        return float(counts.max()) / len(numbers)

    @property
    def constant(self) -> bool:
        """Whether there is too little difference between examples to tell anything from it.

        Rows of a few values may well coincide; half of all images don't.
        """
        return self.repeated >= (REPEATED_IMAGES if self.inputs.ndim == 4 else REPEATED_ROWS)

    @property
    def faulty(self) -> bool:
        """Whether there is nothing to compare: the inputs are constant, or some not finite."""
        return self.constant or not bool(self.inputs.isfinite().all())

    def changes(self, other: Reading) -> Tensor:
        """[N] Which of the examples are others in a second reading of the same places."""
        inputs = torch.nan_to_num(self.inputs) != torch.nan_to_num(other.inputs)
        targets = self.targets != other.targets
        return inputs.flatten(1).any(1) | targets.reshape(len(targets), -1).any(1)


@dataclass(frozen=True)
class Readings:
    """A sample of each split; the training split's beginning, and all of validation's, once more.

    `augmented` are examples as training gets them. `random` says whether a training example is
    another each time it is read, whatever the recipe's own augmentation.
    """

    train: Reading
    val: Reading
    test: Reading | None
    val_again: Reading
    augmented: Reading
    random: bool

    @cached_property
    def fixed(self) -> bool:
        """Whether neither training nor validation examples are others at each reading."""
        again = self.val.first(len(self.val_again)).changes(self.val_again)
        return not self.random and not bool(again.any())

    @property
    def augments(self) -> bool:
        """Whether training sees its examples changed at random."""
        return self.augmented is not self.train

    def others(self) -> dict[str, Reading]:
        """The splits beside the training split, by name."""
        return {"val": self.val} | ({} if self.test is None else {"test": self.test})


def read(bench: Bench) -> Readings:
    """Read what the checks need; of large examples, or where reading is slow, fewer."""
    data = bench.data
    train = _reading(bench, data.train, TRAIN)
    again = read_at(bench, data.train, train.places[:AGAIN])
    random = bool(train.first(len(again)).changes(again).any())
    val = _reading(bench, data.val, OTHERS)
    augmented = train
    if data.augmentation:
        augmented = _augmented(bench, AUGMENTED)
    elif random:
        augmented = train.first(AUGMENTED)
    return Readings(
        train=train,
        val=val,
        test=None if data.test is None else _reading(bench, data.test, OTHERS),
        val_again=read_at(bench, data.val, val.places),
        augmented=augmented,
        random=random,
    )


def _reading(bench: Bench, split: Split, size: int) -> Reading:
    """Up to `size` examples, drawn without replacement, always the same ones."""
    shape = bench.data.input_shape
    kept = math.prod(shape) // math.prod(_shrinkage(shape))
    affordable = max(32, SAMPLE_ELEMENTS // max(kept, 1))
    order = torch.randperm(len(split), generator=generator(bench.seed, "sample"))
    return read_at(bench, split, order[: min(size, affordable)])


def read_at(bench: Bench, split: Split, places: Tensor) -> Reading:
    """The examples at `places`, chunk by chunk, until patience is at its end."""
    batches: list[Batch] = []
    started = time.perf_counter()
    for chunk in places.split(CHUNK):
        batches.append(_kept(bench.data.examples(split, chunk)))
        if time.perf_counter() - started > PATIENCE:
            break
    inputs = torch.cat([batch.inputs for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    return Reading(inputs, targets, places[: len(targets)])


def _augmented(bench: Bench, size: int) -> Reading:
    """The first training batches of an epoch that is like none of the training's own."""
    batches: list[Batch] = []
    started = time.perf_counter()
    draws = generator(bench.seed, "data checks")
    for batch in bench.data.training_batches(CHUNK, generator=draws):
        batches.append(_kept(batch))
        if len(batches) * CHUNK >= size or time.perf_counter() - started > PATIENCE:
            break
    targets = torch.cat([batch.targets for batch in batches])
    inputs = torch.cat([batch.inputs for batch in batches])
    return Reading(inputs, targets, torch.arange(len(targets)))


def _kept(batch: Batch) -> Batch:
    """On the CPU, as float32, large images shrunken."""
    inputs = batch.inputs.detach().float().cpu()
    factors = _shrinkage(tuple(inputs.shape[1:]))
    inputs = F.avg_pool2d(inputs, factors) if max(factors) > 1 else inputs
    return Batch(inputs, batch.targets.cpu())


def _shrinkage(shape: tuple[int, ...]) -> tuple[int, int]:
    """By what the sides of images `[C, H, W]` are divided; 1 for all else."""
    if len(shape) != 3:
        return 1, 1
    return math.ceil(shape[1] / LARGEST_SIDE), math.ceil(shape[2] / LARGEST_SIDE)
