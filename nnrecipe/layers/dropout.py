"""Dropout, as YAML declares it: the probability of dropping a unit or of keeping it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.spec import Flag, Probability, Spec

PATH = "regularization.dropout"

Share = Annotated[float, Field(strict=True, gt=0, le=1)]


class Dropout(Spec):
    """Hidden units are zeroed at random in training, and the others scaled up to make up for it.

    A number is a drop probability: `dropout: 0.5` is `dropout: {drop: 0.5}`, and so is a list. In
    evaluation nothing is dropped and nothing scaled, so that a unit's expectation is the same.
    """

    source: ClassVar[str] = "Srivastava et al. 2014"

    drop: Probability | tuple[Probability, ...] | None = Field(
        None, description="probability of dropping a unit; a list has one for each place, in order"
    )
    keep: Share | tuple[Share, ...] | None = Field(
        None, description="the same as the probability of keeping a unit: 1 - drop"
    )
    force: Flag = Field(False, description="use it also where the architecture advises against it")

    @property
    def active(self) -> bool:
        """Whether any unit is ever dropped."""
        drop = self._drop()
        return any(drop) if isinstance(drop, tuple) else drop > 0

    def rates(self, places: int) -> tuple[float, ...]:
        """The drop probability of each place. Raises `UserError` if there are more or fewer."""
        drop = self._drop()
        if isinstance(drop, tuple) and len(drop) != places:
            raise UserError(
                f"{PATH}: a list of {len(drop)} for a network with {places} "
                f"place{'s' * (places != 1)} for dropout: list {places}, or give one number for all"
            )
        if not places and self.active:
            raise UserError(
                f"{PATH}: the network has no hidden layer to drop units of: leave it out"
            )
        return drop if isinstance(drop, tuple) else (drop,) * places

    def _drop(self) -> float | tuple[float, ...]:
        if self.drop is not None:
            return self.drop
        assert self.keep is not None
        return tuple(1 - p for p in self.keep) if isinstance(self.keep, tuple) else 1 - self.keep

    @model_validator(mode="before")
    @classmethod
    def _number_is_drop(cls, given: Any) -> Any:
        return {"drop": given} if isinstance(given, int | float | list | tuple) else given

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.drop is None) == (self.keep is None):
            found = "neither drop nor keep" if self.drop is None else "both drop and keep"
            raise conflict(PATH, f"got {found}", "give one of them: keep is 1 - drop")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A mapping, or what `drop` may be."""
        spelled_out = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [*spelled_out["properties"]["drop"]["anyOf"][:2], spelled_out]}
