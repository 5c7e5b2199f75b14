"""The type of `optimizer.lr`."""

from __future__ import annotations

from typing import Annotated, Literal

from nnrecipe.core.spec import PositiveFloat, expecting

LearningRate = Annotated[PositiveFloat | Literal["auto"], expecting("a number above 0, or auto")]
"""The length of a step, or `auto` for what the lr_probe stage suggests."""
