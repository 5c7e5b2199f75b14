"""A network as a table: every layer in the order of execution, its output and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.custom import CustomArchitecture
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.layers import Norm

BATCH = 2
"""Examples in the trial batch. Not 1, which some layers squeeze or refuse."""


@dataclass(frozen=True)
class Row:
    """One call of a layer.

    `name` is its type and the row's number, `path` its place in the model. `output_shape` has -1
    for the batch; it is empty for a layer that was not called or gave no tensor. A parameter counts
    in the first row that has it.
    """

    name: str
    path: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int


def blueprint(
    architecture: Architecture,
    inputs: InputShape,
    outputs: OutputSpec,
    *,
    norm: Norm,
    dropout: float | None = None,
) -> nn.Module:
    """The network without memory for its weights (torch's meta device).

    A custom architecture is built for real, because its code may compute with its weights.
    """
    if isinstance(architecture, CustomArchitecture):
        return architecture.build(inputs, outputs, norm=norm, dropout=dropout)
    with torch.device("meta"):
        return architecture.build(inputs, outputs, norm=norm, dropout=dropout)


def summarize(model: nn.Module, inputs: InputShape) -> list[Row]:
    """One row for each call of a layer: a module without children, or with parameters of its own.

    Layers with parameters that were not called come last. Nothing is computed where the model runs
    on the meta device; a model that can't gets a real batch on its own device. Mode, weights,
    buffers and generators stay as they are.
    """
    with _evaluation(model):
        try:
            calls = _calls(model, lambda: _run_on_meta(model, inputs))
        except Exception:  # a user's forward may need values, which meta tensors lack
            calls = _calls(model, lambda: _run_for_real(model, inputs))
    called = {module for module, _ in calls}
    calls += [(m, ()) for m in model.modules() if m not in called and _owns_parameters(m)]
    return list(_rows(model, calls))


def render(rows: Sequence[Row]) -> str:
    """The rows as a plain table, with the total and the trainable parameters below it."""
    head = ("Layer", "Path", "Output shape", "Parameters")
    body = [
        (row.name, row.path, str(list(row.output_shape)), f"{row.parameters:,}") for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        f"{name:<{widths[0]}}  {path:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}"
        for name, path, shape, count in (head, *body)
    ]
    rule = "-" * len(lines[0])
    total, trainable = sum(row.parameters for row in rows), sum(row.trainable for row in rows)
    totals = [f"Total parameters: {total:,}", f"Trainable parameters: {trainable:,}"]
    return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


Call = tuple[nn.Module, tuple[int, ...]]


def _calls(model: nn.Module, run: Callable[[], object]) -> list[Call]:
    """The layers in the order in which `run` calls them, each with its output's shape."""
    calls: list[Call] = []

    def record(module: nn.Module, _: object, output: object) -> None:
        calls.append((module, _shape(output)))

    layers = [m for m in model.modules() if not any(m.children()) or _owns_parameters(m)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _rows(model: nn.Module, calls: Sequence[Call]) -> Iterator[Row]:
    paths = {module: path for path, module in model.named_modules()}
    counted: set[nn.Parameter] = set()
    for number, (module, shape) in enumerate(calls, start=1):
        new = [p for p in module.parameters(recurse=False) if p not in counted]
        counted.update(new)
        yield Row(
            name=f"{type(module).__name__}-{number}",
            path=paths[module],
            output_shape=shape,
            parameters=sum(p.numel() for p in new),
            trainable=sum(p.numel() for p in new if p.requires_grad),
        )


def _run_on_meta(model: nn.Module, inputs: InputShape) -> None:
    """Pass shapes through the model: weights and buffers are replaced by placeholders meanwhile."""
    with torch.no_grad(), torch.device("meta"):
        tensors = (*model.named_parameters(), *model.named_buffers())
        placeholders = {name: torch.empty_like(tensor) for name, tensor in tensors}
        functional_call(model, placeholders, (_batch(model, inputs),))


def _run_for_real(model: nn.Module, inputs: InputShape) -> None:
    """Pass one batch through the model, which meanwhile has copies of its buffers."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with torch.no_grad(), isolated_rng(0, "summary"):
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        functional_call(model, buffers, (_batch(model, inputs).to(device),))


def _batch(model: nn.Module, inputs: InputShape) -> Tensor:
    dtypes = (p.dtype for p in model.parameters() if p.is_floating_point())
    return torch.ones(BATCH, *inputs, dtype=next(dtypes, torch.float32))


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Eval mode; afterwards every module has its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _owns_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _shape(output: object) -> tuple[int, ...]:
    """The shape of the first tensor in a layer's output, with -1 for the batch."""
    if isinstance(output, Tensor):
        return (-1, *output.shape[1:]) if output.ndim else ()
    if isinstance(output, Mapping):
        output = list(output.values())
    parts = output if isinstance(output, list | tuple) else ()
    return next((shape for part in parts if (shape := _shape(part))), ())
