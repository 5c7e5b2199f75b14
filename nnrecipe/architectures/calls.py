"""What each layer of a network does when a batch passes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef

from nnrecipe.core.flops import flop_counter
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import InputShape

BATCH = 2
"""Examples in the trial batch. Not 1, which some layers squeeze or refuse."""
FLOAT32 = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Call:
    """What a layer did for one example when it was called once.

    `shape` is its output's, with -1 for the batch; it is empty for a layer that was not called or
    gave no tensor. `flops` counts two for each multiply-add of a matrix product, a convolution or
    attention, without those of the layer's children; other operations count nothing. `memory` is
    the bytes of the outputs in float32, 0 where they are the input itself, a view of it, or written
    over it.
    """

    module: nn.Module
    shape: tuple[int, ...] = ()
    flops: int = 0
    memory: int = 0


def trace(model: nn.Module, inputs: InputShape) -> list[Call]:
    """The calls of layers in the order in which they end.

    A layer is a module without children, with parameters of its own, or with a matrix product of
    its own, such as attention. Those with parameters that were not called come last. Nothing is
    computed where the model runs on the meta device; a model that can't gets a real batch on its
    own device. It runs in eval mode, where dropout passes on what it gets. Mode, weights, buffers
    and generators stay as they are.
    """
    with _evaluation(model), _plain_attention():
        try:
            calls = _calls(model, lambda: _run_on_meta(model, inputs))
        except Exception:  # a user's forward may need values, which meta tensors lack
            calls = _calls(model, lambda: _run_for_real(model, inputs))
    called = {call.module for call in calls}
    left_out = (m for m in model.modules() if m not in called and _owns_parameters(m))
    return [*calls, *(Call(module) for module in left_out)]


def _calls(model: nn.Module, run: Callable[[], object]) -> list[Call]:
    """The calls that `run` makes."""
    calls: list[Call] = []
    counter = flop_counter()
    open_calls = [[0, 0]]  # of each module that runs: FLOPs before it, and those in its children
    seen: set[StorageWeakRef] = set()

    def enter(*_: object) -> None:
        open_calls.append([counter.get_total_flops(), 0])

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        before, in_children = open_calls.pop()
        flops = counter.get_total_flops() - before
        open_calls[-1][1] += flops
        flops -= in_children
        seen.update(map(_storage, _tensors(inputs)))
        new = [tensor for tensor in _tensors(output) if _storage(tensor) not in seen]
        seen.update(map(_storage, new))
        if flops or not any(module.children()) or _owns_parameters(module):
            memory = sum(tensor.numel() for tensor in new) * FLOAT32 // BATCH
            calls.append(Call(module, _shape(output), flops // BATCH, memory))

    handles = [module.register_forward_pre_hook(enter) for module in model.modules()]
    handles += [module.register_forward_hook(leave) for module in model.modules()]
    try:
        with counter:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


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


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch's own attention layers from one fused call, in which no operation is counted."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _owns_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in what a layer takes or puts out."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _storage(tensor: Tensor) -> StorageWeakRef:
    """What a tensor and its views have in common."""
    return StorageWeakRef(tensor.untyped_storage())


def _shape(output: object) -> tuple[int, ...]:
    """The shape of the first tensor in a layer's output, with -1 for the batch."""
    return next(((-1, *tensor.shape[1:]) for tensor in _tensors(output) if tensor.ndim), ())
