"""From what a loader gives to the data that checks work with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from nnrecipe.checkup.form import Form
from nnrecipe.checkup.loading import Reading
from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import derive_seed, generator, isolated_rng
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data import Augmentation, DataBundle, Preprocessing, ResidentSplit, Split
from nnrecipe.data.batch import Batch
from nnrecipe.data.datasets import class_names
from nnrecipe.data.normalization import NoNormalization
from nnrecipe.data.outputs import outputs_of
from nnrecipe.data.partition import stratified_order

HELD_OUT = 0.2
"""The share of the training examples that stands in for a validation split."""
FEWEST = 10
"""Examples of which some can be held out."""
READ_AGAIN = 16  # examples whose second reading shows whether a Dataset is random

Fetch = Callable[[Sequence[Any]], tuple[Tensor, Tensor]]


class LoadedSplit(Split):
    """Examples of a random Dataset, read anew whenever they are needed."""

    def __init__(
        self, reading: Reading, targets: Tensor, form: Form, *, device: torch.device
    ) -> None:
        """`targets` are those of the first reading, as `core.shapes.Task` has them."""
        assert reading.fetch is not None
        assert reading.places is not None
        self.targets = targets
        self.origin = reading.dataset
        self._fetch, self._places = reading.fetch, reading.places
        self._form, self._device = form, device
        self._passes = count()

    def batches(
        self, batch_size: int, *, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        order = torch.arange(len(self)) if order is None else order.cpu()
        seed = next(self._passes) if seed is None else seed
        for number, chunk in enumerate(torch.split(order, batch_size)):
            yield self._read(chunk, derive_seed(seed, number))

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        return self._read(indices, derive_seed(next(self._passes)))

    def _read(self, indices: Tensor, seed: int) -> Batch:
        with isolated_rng(seed):
            inputs, targets = self._fetch([self._places[place] for place in indices.tolist()])
        return Batch(inputs.to(self._device), self._form.targets(targets).to(self._device))


def plain_data(
    train: Reading, val: Reading | None, form: Form, *, device: torch.device
) -> DataBundle:
    """Put the splits together; without a `val`, one is held out of the training examples.

    Raises `UserError` if they don't fit each other.
    """
    held_out = val is None
    if form.task == "single_label":
        _check_labels(train, form, "train_loader")
        if val is not None:
            _check_labels(val, form, "val_loader")
    if val is None:
        train, val = _divided(train, form)
    elif (val.inputs.shape[1:], val.inputs.dtype) != (train.inputs.shape[1:], train.inputs.dtype):
        found = f"{list(val.inputs.shape[1:])}, those of train_loader {_shape_of(train)}"
        raise UserError(f"val_loader: inputs are {found}: make all alike")
    elif val.targets.shape[1:] != train.targets.shape[1:]:
        found = f"{list(val.targets.shape[1:])}, those of train_loader"
        raise UserError(
            f"val_loader: targets are {found} {list(train.targets.shape[1:])}: make all alike"
        )
    splits = {"train": train, "val": val}
    targets = {name: form.targets(reading.targets) for name, reading in splits.items()}
    # What is held out is read once: in a validation split, augmentation would be a fault.
    made = {
        name: _split(reading, targets[name], form, device=device, fixed=held_out and name == "val")
        for name, reading in splits.items()
    }
    outputs = _outputs(train, targets, form)
    names = class_names(_innermost(train.dataset)) or ()
    one = torch.ones(())
    return DataBundle(
        train=made["train"],
        val=made["val"],
        test=None,
        classes=names if len(names) == outputs.size else tuple(map(str, range(outputs.size))),
        input_shape=tuple(train.inputs.shape[1:]),
        preprocessing=Preprocessing(unit=one, mean=torch.zeros(()), std=one).to(device),
        augmentation=Augmentation((), white=None),
        indices={},
        outputs=outputs,
        normalization=NoNormalization(),
    )


def _check_labels(reading: Reading, form: Form, name: str) -> None:
    """Raise `UserError` for labels that are no classes."""
    lowest = int(form.targets(reading.targets).min())
    if lowest < 0:
        raise UserError(
            f"{name}: label {lowest}: number the classes from 0, or give the loss the ignore_index "
            "that it stands for"
        )


def _split(
    reading: Reading, targets: Tensor, form: Form, *, device: torch.device, fixed: bool
) -> Split:
    """In memory, unless a second reading gives other examples."""
    if not fixed and _is_random(reading):
        return LoadedSplit(reading, targets, form, device=device)
    split = ResidentSplit(reading.inputs, targets, device=device)
    split.origin = reading.dataset
    return split


def _is_random(reading: Reading) -> bool:
    if reading.fetch is None or reading.places is None:
        return False
    some = reading.places[:READ_AGAIN]
    first, second = (_seeded(reading.fetch, some, seed) for seed in (1, 2))
    return not all(
        torch.equal(torch.nan_to_num(one.float()), torch.nan_to_num(other.float()))
        for one, other in zip(first, second, strict=True)
    )


def _seeded(fetch: Fetch, places: Sequence[Any], seed: int) -> tuple[Tensor, Tensor]:
    with isolated_rng(seed):
        return fetch(places)


def _divided(reading: Reading, form: Form) -> tuple[Reading, Reading]:
    """Training examples, and those held out: never the same index on both sides.

    A sampler may draw an example more than once. It is the examples that are divided: training
    keeps all draws of each, and of those held out each is there once, as in a validation split.
    """
    example, first = _distinct(reading)
    targets = form.targets(reading.targets)[first]
    total = len(targets)
    if total < FEWEST:
        found = f"{total} examples" + " again and again" * (total < len(example))
        raise UserError(f"train_loader: {found} are too few to hold some out: give a val_loader")
    if targets.ndim == 1:
        order = stratified_order(targets, seed=0)
    else:
        order = torch.randperm(total, generator=generator(0, "held_out"))
    out = torch.zeros(total, dtype=torch.bool)
    out[order[: round(HELD_OUT * total)]] = True
    once = torch.zeros(len(example), dtype=torch.bool)
    once[first[out]] = True
    return reading.part(~out[example]), reading.part(once)


def _distinct(reading: Reading) -> tuple[Tensor, Tensor]:
    """Which example each draw `[N]` is of, counted from 0, and the first draw of each example."""
    if reading.places is None:
        every = torch.arange(len(reading.targets))
        return every, every
    numbers: dict[Any, int] = {}
    first: list[int] = []
    for draw, place in enumerate(reading.places):
        if numbers.setdefault(place, len(numbers)) == len(first):
            first.append(draw)
    return torch.tensor([numbers[place] for place in reading.places]), torch.tensor(first)


def _outputs(train: Reading, targets: dict[str, Tensor], form: Form) -> OutputSpec:
    """What the model has to put out, as the targets tell, and the Dataset's own list of classes.

    Of a Dataset that was read in part, a class that wasn't met is believed to be there: as often as
    the others, which is what no check objects to.
    """
    if form.task != "single_label":
        return outputs_of(targets["train"], size=targets["train"].shape[1], task=form.task)
    found = torch.cat(list(targets.values()))
    names = class_names(_innermost(train.dataset)) or ()
    size = max(int(found.max()) + 1, len(names), math.prod(form.row) if form.one_hot else 2)
    if train.partial:
        size = max(size, form.width)
    outputs = outputs_of(targets["train"], size=size, task=form.task)
    if not train.partial:
        return outputs
    usual = round(sum(outputs.class_counts) / size) or 1
    return replace(outputs, class_counts=tuple(n or usual for n in outputs.class_counts))


def _innermost(dataset: object) -> object:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _shape_of(reading: Reading) -> str:
    return str(list(reading.inputs.shape[1:]))
