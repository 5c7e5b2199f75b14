"""The type of `optimizer.lr`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

from nnrecipe.core.spec import PositiveFloat


def _one_message(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise PydanticCustomError("lr", "should be a number above 0, or auto") from error


LearningRate = Annotated[PositiveFloat | Literal["auto"], WrapValidator(_one_message)]
"""The length of a step, or `auto` for what the lr_probe stage suggests."""
