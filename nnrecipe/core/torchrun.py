"""What `torchrun` tells the processes that it starts."""

from __future__ import annotations

import os


def place() -> tuple[int, int]:
    """The number of the process, and how many there are; (0, 1) without `torchrun`."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def restarts() -> tuple[int, int]:
    """How often `torchrun` has started these processes anew, and how often it would at most."""
    count, most = (f"TORCHELASTIC_{name}" for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return int(os.environ.get(count, 0)), int(os.environ.get(most, 0))
