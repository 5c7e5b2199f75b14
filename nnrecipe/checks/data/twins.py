"""Examples that are there twice, found by random projections of all training examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.kernel import is_image
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.core.seeding import generator
from nnrecipe.data import ResidentSplit, Split

LOOKED_UP = 500
"""Examples of each split whose twin is looked for."""
SKETCH = 32
"""Numbers that an example is projected to: their distances are those of the examples, roughly."""
CLOSE, SAME = 0.1, 1e-4
"""Distances of near-duplicates and of duplicates, in that of two examples drawn at random."""
MOST_NUMBERS, BLOCK = 2**28, 2**22
"""Of the training split: what is searched in all, and projected at a time."""


@dataclass(frozen=True)
class Twins:
    """Of the examples of a split, those with a twin among the training examples.

    `share` is that of near-duplicates and duplicates among the examples, `exact` that of the latter
    alone; both are scaled up where only a part of the training split was searched. `conflicting` is
    the share whose twin has another class. `found` counts the twins.
    """

    share: float
    exact: float
    conflicting: float
    found: int


@dataclass(frozen=True)
class _Pool:
    """Projections `[N, SKETCH]` of training examples, their targets, and places in the split."""

    points: Tensor
    targets: Tensor
    places: Tensor
    typical: float
    scale: float


def twins(bench: Bench) -> dict[str, Twins]:
    """The twins of each split's examples, by the split's name; of training's, other than itself.

    Empty where training can't be searched, as each reading is another, or all is the same.
    """
    readings, data = bench.once(read), bench.data
    if readings.random:
        return {}
    splits: dict[str, tuple[Split, Reading]] = {"train": (data.train, readings.train)}
    splits["val"] = data.val, readings.val
    if data.test is not None and readings.test is not None:
        splits["test"] = data.test, readings.test
    resident = all(isinstance(split, ResidentSplit) for split, _ in splits.values())
    axes = torch.randn(
        math.prod(data.input_shape if resident else readings.train.inputs.shape[1:]),
        SKETCH,
        generator=generator(bench.seed, "twins"),
    )
    pool = _whole(bench, axes) if resident else _read(bench, axes)
    if pool.typical <= 0:
        return {}
    found = {}
    for name, (split, reading) in splits.items():
        some = reading.first(LOOKED_UP)
        inputs = split.examples(some.places).inputs if resident else some.inputs
        own = some.places if name == "train" else None
        near = CLOSE if is_image(some.inputs) else SAME
        found[name] = _look_up(pool, _sketch(inputs, axes), some.targets, own, near=near)
    return found


def _whole(bench: Bench, axes: Tensor) -> _Pool:
    """All training examples, raw; of very many, a random part."""
    split, length = bench.data.train, math.prod(bench.data.input_shape)
    most = max(LOOKED_UP, MOST_NUMBERS // length)
    size = max(1, BLOCK // length)
    if len(split) <= most:
        places = torch.arange(len(split))
        batches = split.batches(size)
    else:
        draws = generator(bench.seed, "sample")  # begins with those that are looked up
        places = torch.randperm(len(split), generator=draws)[:most]
        batches = split.batches(size, order=places)
    points = torch.cat([_sketch(batch.inputs, axes) for batch in batches])
    return _pooled(points, split.targets[places], places, len(split))


def _read(bench: Bench, axes: Tensor) -> _Pool:
    """The training examples that were read."""
    train = bench.once(read).train
    points = _sketch(train.inputs, axes)
    return _pooled(points, train.targets, train.places, len(bench.data.train))


def _pooled(points: Tensor, targets: Tensor, places: Tensor, count: int) -> _Pool:
    some = points[torch.linspace(0, len(points) - 1, min(len(points), 300)).long()]
    distances = torch.pdist(some)
    typical = float(distances.median()) if len(distances) else 0.0
    return _Pool(points, targets, places, typical, count / len(points))


def _look_up(
    pool: _Pool, points: Tensor, targets: Tensor, own: Tensor | None, *, near: float
) -> Twins:
    closest, nearest = [], []
    for chunk, places in zip(
        points.split(100),
        (own if own is not None else torch.full((len(points),), -1)).split(100),
        strict=True,
    ):
        squares = chunk.square().sum(1, keepdim=True) + pool.points.square().sum(1)
        squares -= 2 * chunk @ pool.points.T
        squares[places.unsqueeze(1) == pool.places] = torch.inf
        least = squares.min(1)
        closest.append(least.values)
        nearest.append(least.indices)
    # The distances of those that are close are taken anew: the difference of squares is rounded.
    match = torch.cat(nearest)
    distances = (points - pool.points[match]).norm(dim=1) / pool.typical
    distances[torch.cat(closest).isinf()] = torch.inf
    twin = distances < near
    differ = targets != pool.targets[match]
    conflict = twin & (differ if differ.ndim == 1 else torch.zeros_like(twin))
    return Twins(
        share=min(1.0, float(twin.float().mean()) * pool.scale),
        exact=min(1.0, float((distances < SAME).float().mean()) * pool.scale),
        conflicting=min(1.0, float(conflict.float().mean()) * pool.scale),
        found=int(twin.sum()),
    )


def _sketch(inputs: Tensor, axes: Tensor) -> Tensor:
    """`[N, SKETCH]`: examples `[N, ...]` on random axes `[F, SKETCH]`."""
    return inputs.cpu().flatten(1).float().nan_to_num(0.0, 0.0, 0.0) @ axes
