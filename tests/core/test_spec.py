from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.core.spec import (
    ByKind,
    Count,
    Flag,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    PositiveFloat,
    Probability,
    Spec,
    kind_of,
    members,
    named,
)


class Round(Spec):
    kind: Literal["round"] = "round"
    radius: PositiveFloat = 1.0


class Square(Spec):
    kind: Literal["square"] = "square"
    side: PositiveFloat


class Imported(Spec):
    kind: Literal["imported"] = "imported"
    shorthand: ClassVar[str | None] = "file"
    file: str
    scale: PositiveFloat = 1.0


Shape = Annotated[Round | Square, ByKind(default="round")]
Strict = Annotated[Round | Square, ByKind()]
Single = Annotated[Round, ByKind()]
Open = Annotated[Round | Square | Imported, ByKind(default="round")]


class Drawing(Spec):
    shape: Shape = Round()


def test_a_word_stands_for_its_kind():
    assert Drawing.model_validate({"shape": "round"}).shape == Round()


def test_a_mapping_without_kind_is_of_the_default_kind():
    assert Drawing.model_validate({"shape": {"radius": 2}}).shape == Round(radius=2)


def test_without_a_default_the_kind_must_be_said():
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Strict).validate_python({"radius": 2})
    assert caught.value.errors()[0]["type"] == "union_tag_not_found"


def test_a_wrong_kind_names_the_ones_there_are():
    with pytest.raises(ValidationError, match="'round', 'square'"):
        TypeAdapter(Shape).validate_python("oval")


def test_a_word_with_a_colon_sets_the_shorthands_field():
    adapter = TypeAdapter(Open)
    assert adapter.validate_python("imported:a:b.svg") == Imported(file="a:b.svg")
    given = {"kind": "imported:a.svg", "scale": 2}
    assert adapter.validate_python(given) == Imported(file="a.svg", scale=2)
    assert given["kind"] == "imported:a.svg", "the caller's own stays as it is"


@pytest.mark.parametrize(
    "value",
    ["round:3", "importet:a", {"kind": "round:3"}, {"kind": "imported:a.svg", "file": "b.svg"}],
    ids=str,
)
def test_a_colon_elsewhere_makes_an_unknown_kind(value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Open).validate_python(value)
    assert caught.value.errors()[0]["type"] == "union_tag_invalid"


def test_a_shorthand_without_its_value_lacks_the_field():
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Open).validate_python("imported")
    assert caught.value.errors()[0]["type"] == "missing"


def test_named_says_what_a_word_stands_for():
    kinds = {kind_of(member): member for member in members(Open)}
    assert named("imported:a", kinds) == {"kind": "imported", "file": "a"}
    for word in ("imported", "round", "round:1", "", ":a"):
        assert named(word, kinds) == {"kind": word}


def test_errors_point_to_the_field():
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate({"shape": {"kind": "square", "side": -1}})
    assert caught.value.errors()[0]["loc"] == ("shape", "square", "side")


def test_an_instance_passes_as_it_is():
    assert TypeAdapter(Shape).validate_python(Square(side=2)) == Square(side=2)


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError) as caught:
        Round.model_validate({"radious": 1})
    assert caught.value.errors()[0]["type"] == "extra_forbidden"


def test_specs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Round().radius = 2.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(value):
    with pytest.raises(ValidationError):
        Round(radius=value)


def test_members_are_the_union_in_order():
    assert members(Shape) == (Round, Square)
    assert members(Single) == (Round,)
    assert [kind_of(member) for member in members(Shape)] == ["round", "square"]


def test_the_json_schema_offers_the_words_and_the_mappings():
    schema = TypeAdapter(Shape).json_schema()
    words, mappings = schema["anyOf"]
    assert words == {"enum": ["round"]}, "a square needs its side"
    named, free = sorted(mappings["oneOf"], key=lambda member: "$ref" in member)
    assert free["$ref"].endswith("/Round"), "the default kind may be left out"
    assert named["allOf"][0]["$ref"].endswith("/Square")
    assert named["allOf"][1] == {"required": ["kind"]}


def test_the_json_schema_offers_the_shorthand():
    words, short, mapping, family = TypeAdapter(Open).json_schema()["anyOf"]
    assert words == {"enum": ["round"]}, "the others need more than their name"
    assert short["type"] == "string"
    for word, fits in [("imported:a", True), ("imported:", False), ("round:1", False)]:
        assert bool(re.search(short["pattern"], word)) == fits
    assert mapping == {"type": "object", "properties": {"kind": short}, "required": ["kind"]}
    assert len(family["oneOf"]) == 3


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Count, [1, 10], [0, -1, 1.5, True, "3"]),
        (NonNegativeInt, [0, 3], [-1, 0.5, False, "0"]),
        (PositiveFloat, [1e-9, 3], [0, -1.0, True, "1.0"]),
        (NonNegativeFloat, [0, 0.5], [-0.1, True, "0"]),
        (Number, [-1.5, 0, 2], [True, "1"]),
        (Probability, [0, 0.99], [1, 1.5, -0.1, False]),
        (Fraction, [0.01, 0.99], [0, 1, -0.5, "0.5"]),
        (Flag, [True, False], [0, 1, "yes", "true"]),
    ],
)
def test_number_types_take_numbers_in_their_range_only(kind, good, bad):
    adapter = TypeAdapter(kind)
    for value in good:
        assert adapter.validate_python(value) == value
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
