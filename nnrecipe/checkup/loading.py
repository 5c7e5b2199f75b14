"""What a loader gives: the examples it would train on, read without using the loader up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import generator
from nnrecipe.core.targets import blaming, describe

MOST_BYTES = 2**29
"""Half a gigabyte of examples is looked at, of large ones therefore fewer."""
MOST_PLACES = 2_000_000  # of an epoch whose order is asked for; a sampler may have no end
TARGET_KEYS = ("label", "labels", "target", "targets", "y")
_WORKER = "in DataLoader worker process"
EXPECTED = "expected batches of (inputs, targets), both tensors"


@dataclass(frozen=True)
class Reading:
    """Examples in the order in which a loader presents them: `inputs: [N, ...]`, `targets: [N...]`.

    `places` are the examples' indices in the Dataset where they are known. `partial` says that the
    loader has more of them. `fetch` reads the examples of other indices, if that can be done.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int
    partial: bool
    shuffled: bool
    places: list[Any] | None = None
    fetch: Callable[[Sequence[Any]], tuple[Tensor, Tensor]] | None = None
    dataset: object | None = None

    def part(self, kept: Tensor) -> Reading:
        """The examples that a mask `[N]` keeps."""
        places = self.places
        if places is not None:
            places = [place for place, keep in zip(places, kept.tolist(), strict=True) if keep]
        return replace(self, inputs=self.inputs[kept], targets=self.targets[kept], places=places)


def first_batch(loader: Iterable[Any], name: str) -> tuple[Tensor, Tensor]:
    """The inputs and targets of one batch, which another reading may give again."""
    for batch in _fresh(loader, name):
        return _pair(batch, name)
    raise UserError(f"{name}: it gives no batch: is its Dataset empty, or drop_last too strict?")


def read(loader: Iterable[Any], name: str, *, limit: int) -> Reading:
    """At most about `limit` examples of a loader. Raises `UserError` for what is no such loader."""
    inputs, _ = first_batch(loader, name)
    affordable = max(64, MOST_BYTES // max(1, inputs[0].nbytes))
    limit = min(limit, affordable)
    orders = None
    if isinstance(loader, DataLoader) and _is_plain(loader):
        orders = [_order(loader, name) for _ in range(2)]
    if not orders or not orders[0]:
        return _streamed(loader, name, limit=limit)
    assert isinstance(loader, DataLoader)
    return _indexed(loader, orders[0], name, limit=limit, shuffled=orders[0] != orders[1])


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Whether a loader batches the examples of a Dataset that can be asked for by index."""
    untouched = type(loader).__iter__ is DataLoader.__iter__
    return (
        untouched
        and loader.batch_sampler is not None
        and not isinstance(loader.dataset, IterableDataset)
    )


def _order(loader: DataLoader[Any], name: str) -> list[Any]:
    """The indices of one epoch, in the order in which the loader asks for them."""
    with blaming(name, "the sampler"):
        batches = iter(loader.batch_sampler or ())
        return list(islice(chain.from_iterable(batches), MOST_PLACES))


def _indexed(
    loader: DataLoader[Any], order: list[Any], name: str, *, limit: int, shuffled: bool
) -> Reading:
    """Examples from all over the epoch, in its order."""
    chosen = torch.randperm(len(order), generator=generator(0, "chosen"))[:limit].sort().values
    places = [order[place] for place in chosen.tolist()]
    size = loader.batch_size or 64
    chunks = [places[start : start + size] for start in range(0, len(places), size)]
    reader: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_sampler=chunks,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),
    )
    inputs, targets = _joined(_pair(batch, name) for batch in _blamed(reader, name))
    if len(targets) != len(places):  # a collate function that adds or drops examples
        return _streamed(loader, name, limit=limit)

    def fetch(wanted: Sequence[Any]) -> tuple[Tensor, Tensor]:
        with blaming(name, type(loader.dataset).__name__):
            return _pair(loader.collate_fn([loader.dataset[place] for place in wanted]), name)

    return Reading(
        inputs,
        targets,
        batch_size=size,
        partial=len(places) < len(order),
        shuffled=shuffled,
        places=places,
        fetch=fetch,
        dataset=loader.dataset,
    )


def _streamed(loader: Iterable[Any], name: str, *, limit: int) -> Reading:
    """The first examples that come; whether they are shuffled shows at a second beginning."""
    found: list[tuple[Tensor, Tensor]] = []
    count, partial = 0, False
    for batch in _fresh(loader, name):
        if count >= limit:
            partial = True
            break
        found.append(_pair(batch, name))
        count += len(found[-1][1])
    again = first_batch(loader, name)
    dataset = loader.dataset if isinstance(loader, DataLoader) else loader
    inputs, targets = _joined(found)
    return Reading(
        inputs,
        targets,
        batch_size=len(found[0][1]),
        partial=partial,
        shuffled=not torch.equal(again[1], found[0][1]),
        dataset=dataset,
    )


def _fresh(loader: Iterable[Any], name: str) -> Iterator[Any]:
    """An iteration of its own: the loader's, which may be under way, goes on as if nothing were."""
    source = loader
    if isinstance(loader, DataLoader):
        source = own = copy.copy(loader)
        own._iterator = None  # of persistent workers
    try:
        found = iter(source)
    except TypeError as error:
        raise UserError(f"{name}: {EXPECTED}, from a DataLoader: {error}") from error
    if found is loader:
        remedy = "pass what it comes from, a DataLoader or a list of batches"
        raise UserError(f"{name}: it is an iterator, which reading would use up: {remedy}")
    return _blamed(found, name)


def _blamed(batches: Iterable[Any], name: str) -> Iterator[Any]:
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            # A worker process hands on its traceback as text: what counts is the last line.
            *_, last = str(error).strip().split("\n")
            told = last if _WORKER in str(error) else describe(error)
            raise UserError(f"{name}: reading a batch failed: {told}") from error
        yield batch


def _pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    """The inputs and targets of a batch, on the CPU. Raises `UserError` if it isn't made so."""
    if isinstance(batch, Mapping) and len(batch) == 2:
        known = [key for key in batch if str(key).lower() in TARGET_KEYS]
        if len(known) == 1:
            (other,) = (key for key in batch if key != known[0])
            batch = (batch[other], batch[known[0]])
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        remedy = "give the loader a collate_fn that makes such pairs"
        raise UserError(f"{name}: {EXPECTED}, got {_described(batch)}: {remedy}")
    inputs, targets = batch
    for value, what in ((inputs, "inputs"), (targets, "targets")):
        if not isinstance(value, Tensor) or not value.ndim:
            raise UserError(f"{name}: {EXPECTED}, got {what} that are {_described(value)}")
    if len(inputs) != len(targets) or not len(inputs):
        found = f"{len(inputs)} inputs with {len(targets)} targets"
        raise UserError(f"{name}: {EXPECTED}, one target for each input, got {found}")
    if not inputs.is_floating_point() and inputs.dtype != torch.uint8:
        kind = str(inputs.dtype).removeprefix("torch.")
        remedy = "diagnose needs numbers that can be changed a little: pass embeddings, or floats"
        raise UserError(f"{name}: inputs are {kind}, {list(inputs.shape)}: {remedy}")
    raw = inputs.dtype == torch.uint8
    return (inputs if raw else inputs.detach().float()).cpu(), targets.detach().cpu()


def _joined(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*batches, strict=True)
    for parts, what in ((inputs, "inputs"), (targets, "targets")):
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            several = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
            raise UserError(f"train_loader: {what} of {several}: diagnose needs examples alike")
    return torch.cat(inputs), torch.cat(targets)


def _described(value: Any) -> str:
    """`a tuple of Tensor, str`, for messages."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        kinds = [type(item).__name__ for item in value[:4]]
        return f"a {type(value).__name__} of {', '.join(kinds)}{', ...' * (len(value) > 4)}"
    return type(value).__name__
