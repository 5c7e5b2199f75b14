"""What a recipe keeps from an earlier training."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from nnrecipe.core.errors import conflict
from nnrecipe.core.spec import Spec


class TransferSpec(Spec):
    """Which parameters stay as they are."""

    freeze: tuple[str, ...] = Field(
        (), description="regular expressions over parameter paths; what they match is not trained"
    )

    @field_validator("freeze")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for index, pattern in enumerate(patterns):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                message = f"{pattern!r} is no regular expression: {error}"
                remedy = "it is searched for in parameters' paths, such as features.0.weight"
                raise conflict(f"transfer.freeze.{index}", message, remedy) from error
        return patterns
