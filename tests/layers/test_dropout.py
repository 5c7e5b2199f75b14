import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout


def parse(value):
    return TypeAdapter(Dropout).validate_python(value)


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        (0.5, (0.5, 0.5)),
        (0, (0, 0)),
        ([0.1, 0.2], (0.1, 0.2)),
        ({"drop": 0.3}, (0.3, 0.3)),
        ({"drop": [0.0, 0.2]}, (0.0, 0.2)),
        ({"keep": 0.8}, (0.2, 0.2)),
        ({"keep": [1.0, 0.25]}, (0.0, 0.75)),
        ({"keep": 1}, (0, 0)),
    ],
    ids=str,
)
def test_keeping_p_is_dropping_1_minus_p(given, rates):
    dropout = parse(given)
    assert dropout.rates(2) == pytest.approx(rates)
    assert dropout.active is any(rates)
    assert parse(dropout.model_dump()) == dropout


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "neither drop nor keep"),
        ({"force": True}, "neither drop nor keep"),
        ({"drop": 0.5, "keep": 0.5}, "both drop and keep"),
        (1.0, "less than 1"),
        ({"keep": 0.0}, "greater than 0"),
        (-0.1, "greater than or equal to 0"),
        (True, "number"),
        ([0.1, 1.5], "less than 1"),
        ("0.5", "Dropout"),
    ],
    ids=str,
)
def test_other_probabilities_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        parse(given)


def test_a_list_has_one_probability_for_each_place():
    with pytest.raises(UserError, match=r"regularization\.dropout: a list of 2 for .* 3 places"):
        parse([0.1, 0.2]).rates(3)


@pytest.mark.parametrize(
    ("spec", "short"), [(Dropout, ["number", "array"]), (DropBlock, ["number"])]
)
def test_the_schema_for_editors_takes_the_short_form_too(spec, short):
    schema = TypeAdapter(spec).json_schema()
    assert [form["type"] for form in schema["anyOf"]] == [*short, "object"]
    number = schema["anyOf"][0]
    assert (number["minimum"], number["exclusiveMaximum"]) == (0, 1)
