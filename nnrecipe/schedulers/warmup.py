"""How long the warm-up takes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import NonNegativeInt, Probability

_EPOCHS = r"^(\d+(?:\.\d+)?) epochs?$"


def _one_message(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        expected = "should be a number of steps, a fraction of all steps below 1, or '3 epochs'"
        raise PydanticCustomError("warmup", expected) from error


Warmup = Annotated[
    NonNegativeInt | Probability | Annotated[str, Field(pattern=_EPOCHS)],
    WrapValidator(_one_message),
    Field(description="optimizer steps of warm-up, a fraction (< 1) of all steps, or '3 epochs'"),
]


def warmup_steps(warmup: Warmup, total_steps: int, *, steps_per_epoch: int) -> int:
    """The optimizer steps that `warmup` means. Raises `UserError` unless some are left after it."""
    if isinstance(warmup, str):
        match = re.match(_EPOCHS, warmup)
        assert match, "the field's pattern admits nothing else"
        steps = round(float(match[1]) * steps_per_epoch)
    else:
        steps = int(warmup * total_steps) if isinstance(warmup, float) else warmup
    if steps >= total_steps:
        found = f"{warmup!r} is {steps} steps, and training has only {total_steps}"
        raise UserError(f"scheduler.warmup: {found}: shorten it, or raise training.epochs")
    return steps
