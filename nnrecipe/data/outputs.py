"""What a model has to put out, as the targets tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Head, OutputSpec, SingleTask

SPARSE_LABELS = 1000  # more classes than examples are believed up to here


def outputs_of(targets: Tensor, *, size: int, task: SingleTask) -> OutputSpec:
    """What the training `targets: [N]` or `[N, size]` are like; deviations are biased ones."""
    outputs = OutputSpec(size, task=task, examples=len(targets))
    match task:
        case "single_label":
            counts = targets.bincount(minlength=size)
            return replace(outputs, class_counts=tuple(counts.tolist()))
        case "multi_label":
            counts = targets.long().sum(0)
            return replace(outputs, class_counts=tuple(counts.tolist()))
        case "regression":
            values = targets.double()
            return replace(
                outputs,
                target_mean=tuple(values.mean(0).tolist()),
                target_std=tuple(values.std(0, correction=0).tolist()),
            )


def side_by_side(heads: Iterable[Head]) -> tuple[Head, ...]:
    """The heads in a row: each begins where the one before ends."""
    placed: list[Head] = []
    output = target = 0
    for head in heads:
        placed.append(replace(head, first_output=output, first_target=target))
        output, target = output + head.outputs.size, target + head.columns
    return tuple(placed)


def together(heads: tuple[Head, ...], *, examples: int = 0) -> OutputSpec:
    """What a model of all heads puts out."""
    size = sum(head.outputs.size for head in heads)
    return OutputSpec(size, task="several", examples=examples, heads=heads)


def output_names(
    names: Sequence[str] | None,
    targets: Mapping[str, Tensor],
    *,
    declared: int | None,
    where: str,
) -> tuple[str, ...]:
    """The given `names` of the outputs if they fit the `targets` of all splits, else 0, 1, ...

    `declared` is their number if it is known. Classes count also where the training split lacks
    them. Raises `UserError` that begins with `where` if the targets don't fit.
    """
    if targets["train"].ndim == 1:
        size = _class_count(targets, declared or len(names or ()), where=where)
    else:
        size = _row_length(targets, declared, where=where)
    return tuple(names) if names and len(names) == size else tuple(map(str, range(size)))


def _class_count(targets: Mapping[str, Tensor], declared: int, *, where: str) -> int:
    count = declared or _largest(targets.values(), where=where) + 1
    for name, numbers in targets.items():
        if int(numbers.max()) >= count:
            found = f"label {int(numbers.max())} among {count} classes (0 ... {count - 1})"
            raise UserError(f"{where}: {name}: {found}: set data.classes")
    if count < 2:
        raise UserError(f"{where}: all labels are 0: set data.classes")
    return count


def _largest(targets: Iterable[Tensor], *, where: str) -> int:
    """The largest class number. Raises `UserError` if it can't be one."""
    numbers = torch.cat(list(targets))
    largest = int(numbers.max())
    if largest >= max(SPARSE_LABELS, len(numbers)):
        found = f"{len(numbers)} examples with labels up to {largest}"
        remedy = "number the classes 0, 1, 2, ..., or set data.classes"
        raise UserError(f"{where}: {found}: {remedy}")
    return largest


def _row_length(targets: Mapping[str, Tensor], declared: int | None, *, where: str) -> int:
    lengths = {name: rows.shape[1] for name, rows in targets.items()}
    size = lengths["train"]
    for name, length in lengths.items():
        if length != size:
            found = f"rows of {length} in {name}, of {size} in train"
            raise UserError(f"{where}: targets must be alike, got {found}")
    if declared not in (None, size):
        raise UserError(f"data.classes: {declared}: the targets of {where} are rows of {size}")
    return size
