"""What a recipe keeps from an earlier training."""

from __future__ import annotations

from pydantic import Field

from nnrecipe.core.spec import Spec


class TransferSpec(Spec):
    """Which parameters stay as they are."""

    freeze: tuple[str, ...] = Field(
        (), description="regular expressions over parameter paths; what they match is not trained"
    )
