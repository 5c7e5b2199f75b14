"""How many threads to compute with on a CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Threads = Literal["auto"] | int

CLEARLY = 1.3
"""By how much fewer threads must be faster to be taken: what is chosen shouldn't hang on chance."""
ROUNDS = 5
LONG_STEP = 0.2
"""Seconds of a step that is long enough to gain from every thread."""


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """A block in which torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest(step: Callable[[], object]) -> int:
    """The number of threads with which a training step is fastest: all, or clearly fewer.

    Small steps are slower with threads that have to share their cores, with another job say. What
    the user has set in `OMP_NUM_THREADS` stays.
    """
    most = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or most == 1:
        return most
    step()  # the first one sets things up
    if _seconds(step, most) > LONG_STEP:
        return most
    candidates = [most // 2**halvings for halvings in range(most.bit_length())]
    times = {count: float("inf") for count in candidates}
    for _ in range(ROUNDS):
        for count in candidates:
            times[count] = min(times[count], _seconds(step, count))
    best = min(candidates, key=lambda count: times[count])
    return best if times[most] > CLEARLY * times[best] else most


def _seconds(step: Callable[[], object], count: int) -> float:
    with using_threads(count):
        started = time.perf_counter()
        step()
        return time.perf_counter() - started
