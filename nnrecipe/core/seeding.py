"""Randomness by purpose: every use has a seed of its own, so that no use disturbs another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, `derive_seed(0, "order", epoch)` say; below 2**32 (NumPy's limit).

    Different purposes give independent streams; the same purpose always gives the same one.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def generator(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on `device` for one purpose."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed the global generators of python, numpy and torch (all devices) for one purpose."""
    derived = derive_seed(seed, *purpose)
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)


@contextmanager
def isolated_rng(seed: int, *purpose: str | int) -> Iterator[None]:
    """Run a block under its own seed; afterwards the global generators are as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        seed_everything(seed, *purpose)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
