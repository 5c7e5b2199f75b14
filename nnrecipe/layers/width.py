"""The factor that makes a network's hidden layers wider or narrower."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nnrecipe.core.spec import PositiveFloat

Width = Annotated[
    PositiveFloat,
    Field(le=1000, description="factor on the channels or units of every hidden layer"),
]


def widened(units: int, width: float) -> int:
    """`units` times `width`, rounded, at least 1."""
    return max(1, round(units * width))
