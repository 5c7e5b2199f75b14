"""The base of everything that a YAML file can name, and the types its fields are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MOST = 10**9
"""The largest count: more of anything fits in no memory and no lifetime."""
SMALLEST, LARGEST = 1e-30, 1e30
"""The magnitudes that a number may have: float32, in which networks compute, holds little more."""

# Numbers are strict: `epochs: true` and `epochs: "3"` are mistakes, not 1 and 3.
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
NonNegativeInt = Annotated[int, Field(strict=True, ge=0)]
PositiveFloat = Annotated[float, Field(strict=True, ge=SMALLEST, le=LARGEST)]
NonNegativeFloat = Annotated[float, Field(strict=True, ge=0, le=LARGEST)]
Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST)]
Probability = Annotated[float, Field(strict=True, ge=0, lt=1)]
Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]


class Spec(BaseModel):
    """A frozen description of one part of a recipe.

    A member of a family has a `kind: Literal[...]` and one verb: parts `build`, checks `check`,
    stages `run`. Unknown keys are refused, and so are NaN and infinity. The first line of the
    docstring says what it is; `source` is the paper, book or slide that it is from.
    """

    source: ClassVar[str] = ""
    shorthand: ClassVar[str | None] = None
    """The text field that `kind:value` sets: `torchvision:alexnet` is its `model`, say."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ByKind:
    """Makes a union of specs a family told apart by `kind`.

    `Norm = Annotated[NoNorm | BatchNorm, ByKind()]` accepts `{kind: batch, momentum: 0.2}` and, for
    short, `batch`. With a `default`, a mapping without `kind` is of that kind; where the recipe
    `infers` the kind from other sections, the schema doesn't ask for it. What stands after a
    colon is the member's `shorthand` field: `torchvision:alexnet`.
    """

    default: str | None = None
    infers: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # A family of one has nothing to tell apart, and pydantic refuses to.
        alone = isinstance(source, type)
        family = source if alone else Annotated[source, Field(discriminator="kind")]
        schema = handler.generate_schema(family)
        kinds = {kind_of(member): member for member in get_args(source) or (source,)}
        spell_out = partial(self._spell_out, kinds=kinds)
        metadata = {_SHORT: [kind for kind, member in kinds.items() if member.shorthand]}
        return core_schema.no_info_before_validator_function(spell_out, schema, metadata=metadata)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        family = handler(schema)
        mapping = family.get("discriminator", {}).get("mapping", {})
        if not mapping:
            return family
        words = {
            "enum": sorted(kind for kind in mapping if not _needs_more(mapping[kind], handler))
        }
        if self.infers:
            return {"anyOf": [words, *_short_forms(schema), *family["oneOf"]]}
        # A schema's defaults are not filled in, so all but the default member must name their kind.
        optional = mapping.get(self.default)
        family["oneOf"] = [
            member
            if member.get("$ref") == optional
            else {"allOf": [member, {"required": ["kind"]}]}
            for member in family["oneOf"]
        ]
        return {"anyOf": [words, *_short_forms(schema), family]}

    def _spell_out(self, value: Any, *, kinds: Mapping[str, type[Spec]]) -> Any:
        if isinstance(value, str):
            return named(value, kinds)
        if not isinstance(value, dict):
            return value
        if "kind" not in value:
            return value if self.default is None else {"kind": self.default, **value}
        short = named(value["kind"], kinds) if isinstance(value["kind"], str) else {}
        # a field that is given twice stays so, and its kind unknown
        return value if short.keys() & value.keys() > {"kind"} else {**value, **short}


def _needs_more(reference: str, handler: GetJsonSchemaHandler) -> bool:
    """Whether a member has fields without a default, so that its kind alone doesn't make it."""
    return bool(handler.resolve_ref_schema({"$ref": reference}).get("required"))


_SHORT = "nnrecipe_shorthands"
"""Where a core schema keeps the kinds that take `kind:value`, for the JSON schema."""


def _short_forms(schema: CoreSchema) -> list[JsonSchemaValue]:
    """`kind:value` as a word and inside a mapping, if a member of the family takes it."""
    kinds = schema.get("metadata", {}).get(_SHORT, [])
    if not kinds:
        return []
    word = {"type": "string", "pattern": f"^({'|'.join(map(re.escape, kinds))}):."}
    return [word, {"type": "object", "properties": {"kind": word}, "required": ["kind"]}]


def named(word: str, kinds: Mapping[str, type[Spec]]) -> dict[str, str]:
    """What a family's `kind` or `kind:value` stands for: `{kind: torchvision, model: alexnet}`.

    `kinds` are the family's members. A word that is no such shorthand is the kind itself.
    """
    kind, colon, value = word.partition(":")
    member = kinds.get(kind)
    if colon and member is not None and member.shorthand is not None:
        return {"kind": kind, member.shorthand: value}
    return {"kind": word}


def members(family: Any) -> tuple[type[Any], ...]:
    """The spec classes of a family declared as `Annotated[A | B, ByKind()]`, in its order."""
    union = get_args(family)[0]
    return get_args(union) or (union,)


def kind_of(member: type[Spec]) -> str:
    """The word that YAML uses for this member of a family."""
    return str(member.model_fields["kind"].default)


def expecting(expected: str) -> WrapValidator:
    """One message for all of a union's types, instead of one for each."""

    def validator(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            message = "should be {expected}"
            raise PydanticCustomError("expecting", message, {"expected": expected}) from error

    return WrapValidator(validator)
