from __future__ import annotations

import pytest

from nnrecipe.core.errors import RecipeError
from nnrecipe.recipe.nodes import Node, Origin, to_plain
from nnrecipe.recipe.yaml_source import parse_yaml


def parse(text: str) -> tuple[Node, list[str]]:
    node, problems = parse_yaml(text, lambda line, column: Origin("f.yaml", line, column))
    assert node is not None
    return node, [str(problem) for problem in problems]


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+3", 3),
        ("017", 17),
        ("0o17", 15),
        ("0x1f", 31),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("12:30:45", "12:30:45"),
        ("2020-01-31", "2020-01-31"),
        ("1_000", "1_000"),
        ("", None),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("[1, a, {b: 2}]", [1, "a", {"b": 2}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    node, problems = parse(f"key: {written}")
    found = to_plain(node)["key"]
    assert problems == []
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_value_has_its_place() -> None:
    node, _ = parse("a: 1\nb:\n  c: [x,\n      y]\n")
    section = node.entries["b"]
    assert node.entries["a"].origin == Origin("f.yaml", 1, 4)
    assert section.key == Origin("f.yaml", 2, 1)
    assert section.entries["c"].key == Origin("f.yaml", 3, 3)
    assert section.entries["c"].entries["1"].origin == Origin("f.yaml", 4, 7)


def test_anchors_and_merge_keys() -> None:
    node, problems = parse(
        "base: &base {x: 1, y: 2}\n"
        "one: {<<: *base, y: 3}\n"
        "two:\n  <<: [*base, {x: 5, z: 6}]\n"
        "same: *base\n"
    )
    assert problems == []
    assert to_plain(node) == {
        "base": {"x": 1, "y": 2},
        "one": {"x": 1, "y": 3},
        "two": {"x": 1, "y": 2, "z": 6},
        "same": {"x": 1, "y": 2},
    }
    assert node.entries["one"].entries["x"].origin.line == 1


def test_duplicate_keys_name_both_places() -> None:
    _, problems = parse("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}")
    assert problems[0].startswith("f.yaml:3:1: a: the key 'a' is given twice, first at f.yaml:1:1")
    assert problems[1].startswith("f.yaml:4:11: c.d: the key 'd' is given twice")


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "? [a]\n", "? {a: 1}\n", "~"])
def test_keys_must_be_text(key: str) -> None:
    _, problems = parse(f"a: 1\n{key}: 2")
    assert len(problems) == 1
    assert "a key must be text, got" in problems[0]


@pytest.mark.parametrize(
    "number", [".nan", ".inf", "-.INF", "1e999", "-1e999", str(2**63), "9" * 9999, "0x" + "f" * 99]
)
def test_numbers_must_be_finite_and_fit_the_machine(number: str) -> None:
    _, (problem,) = parse(f"a: [{number}]")
    assert problem.startswith("f.yaml:1:5: a.0: ")
    assert len(problem) < 200


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [echo]",
        "!!python/name:os.system",
        "!custom 1",
        "!custom [1]",
        "!!binary aGk=",
        "!!timestamp 2020-01-01",
        "!!set {a}",
        "!!str [1]",
        "!!map x",
        "!!int x",
    ],
)
def test_tags_bring_in_no_types(value: str) -> None:
    _, problems = parse(f"a: {value}")
    assert len(problems) == 1
    assert problems[0].startswith("f.yaml:1:4: a: ")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\n\tb: 2", "2:1", "tab"),
        ("a:\n\t- 1", "2:1", "tab"),
        ("a: b: c", "1:5", "second ': '"),
        ("a: [1, 2\nb: 3\n", "1:4", "the list opened here isn't closed"),
        ("a: {b: 2\nc: 3\n", "1:4", "the mapping opened here isn't closed"),
        ("a: 'b\nc: 3\n", "1:4", "quotes that were opened here"),
        ("a: 1\nb\n", "2:1", "a key without ':'"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "doesn't fit"),
        ("a: *b", "1:4", "without an anchor"),
        ("a: @b", "1:4", "can't start a value"),
        ("a: ,", "1:4", "a value is missing"),
        ("a: 1\n---\nb: 2", "2:1", "second document"),
        ("a: &x 1\nb: &x 2", "2:4", "exists already"),
        ("a: - b", "1:4", "a list item"),
        ("ab: c\x07", "1:6", "U+0007"),
        ('a: "\\UFFFFFFFF"', "1:7", "no such character"),
    ],
)
def test_syntax_errors_say_where_and_what(text: str, place: str, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"f.yaml:{place}: YAML: ")
    assert words in message


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 60 + "]" * 60, "a: " + "{b: " * 3000, "a: &a [*a]", "a: &a {<<: *a}"]
)
def test_nesting_has_a_limit(text: str) -> None:
    assert "nested too deep" in refusal(text)


def test_aliases_cannot_unfold_into_billions() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "unfolds into more than" in refusal("\n".join(lines))


def test_lone_surrogates_are_refused() -> None:
    _, (problem,) = parse('a: "\\uD800"')
    assert "not valid Unicode" in problem
    problem.encode()


def test_no_document_is_none() -> None:
    assert parse_yaml("# nothing\n", lambda line, column: Origin("f", line, column)) == (None, [])
