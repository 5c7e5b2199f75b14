"""How a population is trained: in which pieces, in how many threads; chosen by measuring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import torch

WARM_UP = 1
TIMED = 2
"""Steps of each candidate: the first ones load and allocate, of the others the fastest counts."""


@dataclass(frozen=True)
class Plan:
    """`vectorized` stacks up to `chunk` replicas that are alike; `sequential` stacks none.

    Each piece is computed by one of `threads` threads; with several, each has one core to itself.
    """

    engine: Literal["vectorized", "sequential"]
    chunk: int = 1
    threads: int = 1

    def __str__(self) -> str:
        """As it is said to the user."""
        pieces = f" in stacks of up to {self.chunk}" if self.engine == "vectorized" else ""
        return f"{self.engine}{pieces}" + (f", {self.threads} threads" * (self.threads > 1))


Engine = Literal["auto", "vectorized", "sequential"] | Plan
"""A plan, the usual plan of an engine by its name, or `auto`: the fastest by measurement."""


def plans(engine: Engine, *, replicas: int, device: torch.device, draws: bool) -> list[Plan]:
    """What to choose from; the one that is usually the best comes first.

    With several threads the order of random draws is left to chance, so a population that `draws`
    random numbers in training has one.
    """
    if isinstance(engine, Plan):
        return [engine]
    cores = torch.get_num_threads()
    threads = [1] if draws or cores == 1 or device.type != "cpu" else [cores, 1]
    alone = [Plan("sequential", threads=count) for count in threads]
    stacked = list(_stackings(replicas, threads, device))
    if engine == "sequential" or not stacked:
        return alone[:1]
    return stacked[:1] if engine == "vectorized" else [*stacked, *alone]


def _stackings(replicas: int, threads: Sequence[int], device: torch.device) -> Iterator[Plan]:
    """Stacks of several sizes, none of which leaves a thread without work."""
    if replicas < 2:
        return
    if device.type != "cpu":
        for chunk in sorted({replicas, -(-replicas // 4)}, reverse=True):
            yield Plan("vectorized", chunk)
        return
    found = [
        Plan("vectorized", min(chunk, -(-replicas // count)), count)
        for count, chunk in product(threads, (16, 8, 64))
    ]
    yield from dict.fromkeys(plan for plan in found if plan.chunk > 1)


@dataclass
class Contest:
    """Plans that take turns at the population's own steps until the fastest is known.

    All of them compute the same, so that no step is wasted.
    """

    candidates: list[Plan]
    _seconds: dict[Plan, list[float]] = field(default_factory=dict)

    @property
    def current(self) -> Plan:
        """The plan for the next step: the first that needs more of them, else the fastest."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        for plan in self.candidates:
            if len(self._seconds.get(plan, [])) < WARM_UP + TIMED:
                return plan
        return min(self.candidates, key=lambda plan: min(self._seconds[plan][WARM_UP:]))

    @property
    def decided(self) -> bool:
        """Whether all candidates have had their turn."""
        turns = (len(self._seconds.get(plan, [])) for plan in self.candidates)
        return len(self.candidates) == 1 or min(turns) >= WARM_UP + TIMED

    def add(self, plan: Plan, seconds: float) -> None:
        """Take down how long a step of all replicas took."""
        self._seconds.setdefault(plan, []).append(seconds)
