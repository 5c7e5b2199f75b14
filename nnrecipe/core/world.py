"""The processes that train one model together, as `torchrun` starts them; usually there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nnrecipe.core.errors import PeerError
from nnrecipe.core.torchrun import place, restarts

Value = TypeVar("Value")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: they may train an ensemble. `torchrun` ends it sooner
if another one fails."""


@dataclass(frozen=True)
class World:
    """`size` processes, of which this is the one numbered `rank`; the first, 0, writes and prints.

    All of them have to call the methods in the same order. Those raise `PeerError` if another
    process has ended.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def from_first(self, value: Value) -> Value:
        """What the first process gives; what the others give doesn't matter."""
        if self.is_alone:
            return value
        carried: list[Any] = [value]
        with peers():
            distributed.broadcast_object_list(carried, src=0)
        first: Value = carried[0]
        return first

    def gather(self, value: Value) -> list[Value]:
        """What each process gives, by rank."""
        found: list[Any] = [value] * self.size
        if not self.is_alone:
            with peers():
                distributed.all_gather_object(found, value)
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes' tensors, the same bits in each."""
        if self.is_alone:
            return tensor
        total = tensor.detach().clone()
        with peers():
            distributed.all_reduce(total)
        return total

    def agree(self, model: nn.Module) -> None:
        """Give the model in every process the first one's parameters and buffers."""
        if self.is_alone:
            return
        with peers(), torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                held = tensor.contiguous()
                distributed.broadcast(held, src=0)
                tensor.copy_(held)

    def part(self, batch: Tensor) -> Tensor:
        """The process's share of a batch's indices `[N]`; all, where there are too few to go round.

        Each index is in just one process then, or in every one: means that weigh by examples are
        right either way.
        """
        return batch if len(batch) < self.size else batch[self.rank :: self.size]


ALONE = World()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """A block in which the processes that `torchrun` has started can reach each other.

    Each has a GPU of its own, if the device is CUDA.
    """
    rank, size = place()
    if size == 1:
        yield ALONE
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with peers():
        found, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        # a store may outlive processes that are started anew, and know the old ones' addresses
        store = PrefixStore(f"attempt-{restarts()[0]}", found)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
    try:
        with peers():
            yield World(rank, size)
    finally:
        distributed.destroy_process_group()


def in_turn(parts: Sequence[Sequence[Value]]) -> Iterator[Value]:
    """The first of each part, the second of each, and so on: what was dealt out, put together."""
    for row in range(max(map(len, parts), default=0)):
        yield from (part[row] for part in parts if row < len(part))


@contextmanager
def peers() -> Iterator[None]:
    """A block in which an error of the connection to another process becomes a `PeerError`."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        told = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")
        if isinstance(error, distributed.DistError) or any(word in text for word in told):
            raise PeerError("another process of the run failed: its own error says why") from error
        raise
