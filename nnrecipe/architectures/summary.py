"""A network as a table: every layer in the order of execution, its output and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.calls import FLOAT32, Call, trace
from nnrecipe.architectures.custom import CustomArchitecture
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.table import aligned
from nnrecipe.layers.hidden import Hidden

WIDEST = 120
"""Columns of the table; longer paths lose their beginning."""


@dataclass(frozen=True)
class Row:
    """One call of a layer, for one example.

    `name` is its type and the row's number, `path` its place in the model. A parameter counts in
    the first row that has it. The others are those of `Call`: `output_shape` has -1 for the batch,
    `flops` are forward, two for a multiply-add, and `memory` is in bytes.
    """

    name: str
    path: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int
    flops: int = 0
    memory: int = 0


def blueprint(
    architecture: Architecture, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden
) -> nn.Module:
    """The network without memory for its weights (torch's meta device).

    A custom architecture is built for real, because its code may compute with its weights.
    """
    if isinstance(architecture, CustomArchitecture):
        return architecture.build(inputs, outputs, hidden=hidden)
    with torch.device("meta"):
        return architecture.build(inputs, outputs, hidden=hidden)


def summarize(model: nn.Module, inputs: InputShape) -> list[Row]:
    """One row for each call of a layer, in the order of execution, without computing anything.

    `nnrecipe.architectures.calls` says what a layer is. A model whose code needs values, which are
    not there, runs on a real batch on its own device. It stays as it is.
    """
    return list(_rows(model, trace(model, inputs)))


def render(rows: Sequence[Row], *, batch_size: int | None = None) -> str:
    """The rows as a plain table, with the totals below it, also for a batch of `batch_size`."""
    head = ("Layer", "Path", "Output shape", "Parameters", "FLOPs", "Memory")
    table = list(_fitted([head, *map(_cells, rows)]))
    lines = aligned(table, right=range(3, len(head)))
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:], rule, *_totals(rows, batch_size)])


Cells = tuple[str, ...]


def _cells(row: Row) -> Cells:
    shape, count = str(list(row.output_shape)), f"{row.parameters:,}"
    return row.name, row.path, shape, count, operations(row.flops), size(row.memory)


def _fitted(table: Sequence[Cells]) -> Iterator[Cells]:
    """The lines with as much of each path's end as there is room for."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = max(16, WIDEST - sum(widths) + widths[1] - 2 * (len(widths) - 1))
    for name, path, *others in table:
        fits = len(path) <= room
        yield name, path if fits else f"...{path[3 + len(path) - room :]}", *others


def _totals(rows: Sequence[Row], batch_size: int | None) -> Iterator[str]:
    parameters, memory = sum(row.parameters for row in rows), sum(row.memory for row in rows)
    batch = f", {size(memory * batch_size)} for a batch of {batch_size}" if batch_size else ""
    yield f"Total parameters: {parameters:,}"
    yield f"Trainable parameters: {sum(row.trainable for row in rows):,}"
    flops = operations(sum(row.flops for row in rows))
    yield f"FLOPs: {flops} for one example, forward (a multiply-add is two)"
    yield f"Activations: {size(memory)} for one example{batch} (float32)"
    yield f"Weights: {size(parameters * FLOAT32)} (float32)"


def operations(count: int) -> str:
    """A count in three digits: `850`, `118 K`, `3.63 G`."""
    return _in_units(count, 1000, ("", " K", " M", " G", " T", " P"))


def size(count: int) -> str:
    """Bytes in three digits: `40 B`, `3.06 MiB`."""
    return _in_units(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def _in_units(count: float, step: int, units: Sequence[str]) -> str:
    power = 0
    while count >= step - 0.5 and power < len(units) - 1:
        count, power = count / step, power + 1
    digits = 0 if power == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f}{units[power]}"


def _rows(model: nn.Module, calls: Sequence[Call]) -> Iterator[Row]:
    paths = {module: path for path, module in model.named_modules()}
    counted: set[nn.Parameter] = set()
    for number, call in enumerate(calls, start=1):
        new = [p for p in call.module.parameters(recurse=False) if p not in counted]
        counted.update(new)
        yield Row(
            name=f"{type(call.module).__name__}-{number}",
            path=paths[call.module],
            output_shape=call.shape,
            parameters=sum(p.numel() for p in new),
            trainable=sum(p.numel() for p in new if p.requires_grad),
            flops=call.flops,
            memory=call.memory,
        )
