"""DropBlock: dropout for feature maps, which drops squares of neighbouring pixels."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from nnrecipe.core.spec import Count, Probability, Spec


class DropBlock(Spec):
    """Squares of the feature maps are zeroed in training, each channel's in other places.

    A number is the share: `dropblock: 0.1` is `dropblock: {drop: 0.1}`. Squares lie wholly inside
    the map; on a map that is smaller than they are, they are cut to its size.
    """

    source: ClassVar[str] = "Ghiasi et al. 2018"

    drop: Probability = Field(0.1, description="expected share of a feature map that is zeroed")
    block_size: Count = Field(5, description="side of a square in pixels of the feature map")

    @property
    def active(self) -> bool:
        """Whether anything is ever zeroed."""
        return self.drop > 0

    def build(self) -> nn.Module:
        """A module `[N, C, H, W]` -> `[N, C, H, W]` that is the identity in eval mode."""
        return DropBlock2d(self.drop, self.block_size)

    @model_validator(mode="before")
    @classmethod
    def _number_is_drop(cls, given: Any) -> Any:
        return {"drop": given} if isinstance(given, int | float) else given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A mapping, or what `drop` may be."""
        spelled_out = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [spelled_out["properties"]["drop"], spelled_out]}


class DropBlock2d(_DropoutNd):
    """The module. `p` is the share of a map that is zeroed in expectation, 0 switches it off.

    What is left is scaled up by numbers / numbers left, counted over the whole batch (algorithm 1).
    It draws from torch's global generator, as dropout does.
    """

    def __init__(self, p: float, block_size: int) -> None:
        super().__init__(p)
        self.block_size = block_size

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W]."""
        if not self.training or self.p == 0:
            return x
        *batch, height, width = x.shape
        block = (min(self.block_size, height), min(self.block_size, width))
        corners = (height - block[0] + 1, width - block[1] + 1)
        # in float32 also under autocast: bfloat16 has steps of 1/256, too coarse for small rates
        drawn = torch.rand(*batch, *corners, device=x.device)
        chosen = drawn < corner_rate(self.p, block, (height, width))
        dropped = grow(grow(chosen, block[0], dim=2), block[1], dim=3)
        kept = 1 - dropped.mean(dtype=torch.float32)
        return x.masked_fill(dropped, 0) / kept.clamp_min(1 / x.numel())

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"p={self.p}, block_size={self.block_size}"


def grow(starts: Tensor, length: int, *, dim: int) -> Tensor:
    """Every True becomes `length` in a row, of which it is the first; the line gets that longer.

    Twice as long is the same line once more, shifted by what it is: a few steps on one byte a
    pixel, which on a CPU take a seventh of the time of a max pooling.
    """
    border = (0, 0) * (starts.ndim - 1 - dim) + (length - 1, length - 1)
    line, grown = F.pad(starts, border), 1
    while grown < length:
        step = min(grown, length - grown)
        rest = line.shape[dim] - step
        line = line.narrow(dim, 0, rest) | line.narrow(dim, step, rest)
        grown += step
    return line


@lru_cache(maxsize=1024)
def corner_rate(share: float, block: tuple[int, int], size: tuple[int, int]) -> float:
    """The probability of each corner with which blocks cover `share` of a map in expectation.

    A pixel under n possible blocks stays with probability q^n, q = 1 - rate. The mean of q^n over
    the map's pixels grows with q, so that bisection finds where it is 1 - share. The formula in the
    paper (equation 1) leaves overlaps out, and covers less than it says.
    """
    rows, columns = (Counter(_coverings(b, s)) for b, s in zip(block, size, strict=True))
    pixels = size[0] * size[1]
    low, high = 0.0, 1.0
    for _ in range(60):
        q = (low + high) / 2
        kept = sum(i * j * q ** (n * m) for n, i in rows.items() for m, j in columns.items())
        low, high = (q, high) if kept < (1 - share) * pixels else (low, q)
    return 1 - low


def _coverings(block: int, size: int) -> list[int]:
    """For each pixel of a line, the number of places in which a block of it covers the pixel."""
    last = size - block
    return [min(pixel, last) - max(pixel - block + 1, 0) + 1 for pixel in range(size)]
