"""What a training step works on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples and their targets: `inputs: [N, ...]`, `targets` as `core.shapes.Task` says."""

    inputs: Tensor
    targets: Tensor
