"""What a training step works on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples and their classes: `inputs: [N, ...]`, `targets: [N]` (int64)."""

    inputs: Tensor
    targets: Tensor
