"""Seeded divisions of a data set, stratified by class, from generators of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import generator


def stratified_order(targets: Tensor, *, seed: int) -> Tensor:
    """An order of the examples `[N]` whose every beginning has the classes in proportion.

    Within a class the order is random; the r-th of a class's n examples comes at depth
    `(r + 0.5) / n`.
    """
    shuffled = torch.randperm(len(targets), generator=generator(seed, "stratify"))
    by_class = shuffled[targets[shuffled].argsort(stable=True)]
    labels = targets[by_class]
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(labels)) - starts[labels]
    depths = (ranks + 0.5).double() / counts[labels]
    return by_class[depths.argsort(stable=True)]


def subset(targets: Tensor, limit: int | None, *, seed: int) -> Tensor:
    """Ascending indices of at most `limit` examples; None: all.

    Classes (`targets: [N]`) are in proportion; all other targets (`[N, D]`) are drawn plainly.
    """
    if limit is None or limit >= len(targets):
        return torch.arange(len(targets))
    if targets.ndim == 1:
        order = stratified_order(targets, seed=seed)
    else:
        order = torch.randperm(len(targets), generator=generator(seed, "subset"))
    return order[:limit].sort().values


def hold_out(
    targets: Tensor, fraction: float, *, seed: int, path: str, classes: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Divide the examples into (kept, held out), ascending indices; the classes in proportion.

    `path` is the YAML path of `fraction`. Raises `UserError` if a class would be missing on a side.
    """
    order = stratified_order(targets, seed=seed)
    held, kept = order.tensor_split([round(fraction * len(order))])
    counts = targets.bincount(minlength=len(classes))
    for side, remedy in ((held, "raise it"), (kept, "lower it")):
        missing = (targets[side].bincount(minlength=len(classes)) == 0) & (counts > 0)
        if missing.any():
            worst = int(missing.nonzero()[0])
            have = f"class {classes[worst]!r} has {counts[worst]} example(s)"
            remedy = remedy if counts[worst] > 1 else "add examples of it, or leave the class out"
            raise UserError(f"{path}: {fraction}: {have}, too few to divide so: {remedy}")
    return kept.sort().values, held.sort().values
