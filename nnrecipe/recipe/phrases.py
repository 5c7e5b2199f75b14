"""Pydantic's messages in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from nnrecipe.core.spec import SMALLEST
from nnrecipe.recipe.nodes import shown
from nnrecipe.recipe.suggestions import nearest

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "none": "null",
}
"""The first word of a type error's name -> what the value must be."""

_NUMBER = re.compile(r"[-+]?[\d_]*\.?[\d_]+(e[-+]?\d+)?", re.IGNORECASE)

_BOUNDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda ctx: f"greater than {_figure(ctx['gt'])}",
    "greater_than_equal": lambda ctx: _least(ctx["ge"]),
    "less_than": lambda ctx: f"less than {_figure(ctx['lt'])}",
    "less_than_equal": lambda ctx: f"at most {_figure(ctx['le'])}",
    "multiple_of": lambda ctx: f"a multiple of {ctx['multiple_of']:g}",
    "finite_number": lambda _: "a finite number",
    "too_short": lambda ctx: f"a list of at least {ctx['min_length']}",
    "too_long": lambda ctx: f"a list of at most {ctx['max_length']}",
    "string_too_short": lambda ctx: f"text of at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"text of at most {ctx['max_length']} characters",
    "string_pattern_mismatch": lambda _: "of another form",
}
"""Errors of a value whose type is right -> what else it must be."""


def _least(bound: float) -> str:
    least = f"at least {_figure(bound)}"
    return f"greater than 0 ({least})" if bound == SMALLEST else least


def _figure(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def describe(complaints: Sequence[ErrorDetails]) -> tuple[str, str]:
    """Message and remedy ("" if the message says all) for all complaints about one value.

    A value of a union type (`a number or 'auto'`) draws one complaint for each member.
    """
    bounds = [c for c in complaints if c["type"] in _BOUNDS]
    if bounds:
        wanted = _BOUNDS[bounds[0]["type"]](bounds[0].get("ctx", {}))
        return f"must be {wanted}, got {shown(bounds[0]['input'])}", ""
    wants = list(dict.fromkeys(filter(None, map(_wanted, complaints))))
    value = complaints[0]["input"]
    if not wants:
        return _own_words(complaints[0]), ""
    return f"must be {' or '.join(wants)}, got {shown(value)}", _slip(complaints, value)


def _wanted(complaint: ErrorDetails) -> str | None:
    """What the value must be, by a complaint about its type; None if that is not what it is."""
    if complaint["type"] == "literal_error":
        expected = complaint.get("ctx", {})["expected"]
        return expected if not re.search(r" or |, ", expected) else f"one of {_listed(expected)}"
    word, _, rest = complaint["type"].partition("_")
    return _TYPES.get(word) if rest else None


def _listed(expected: str) -> str:
    """`'a', 'b' or 'c'` as `a, b, c`."""
    return expected.replace(" or ", ", ").replace("'", "")


def _slip(complaints: Sequence[ErrorDetails], value: Any) -> str:
    """The remedy for a common slip of the pen, if the value looks like one."""
    kinds = {complaint["type"].split("_")[0] for complaint in complaints}
    if isinstance(value, str):
        if kinds & {"int", "float"} and _NUMBER.fullmatch(value):
            return f"write {value.replace('_', '')}, without quotes or underscores"
        if "bool" in kinds and value.lower() in {"yes", "no", "on", "off", "true", "false"}:
            return "write true or false, without quotes: yes, no, on and off are text in YAML 1.2"
        choices = [
            choice
            for complaint in complaints
            for choice in re.findall("'([^']*)'", complaint.get("ctx", {}).get("expected", ""))
        ]
        close = nearest(value, choices)
        return f"did you mean {close!r}?" if close else ""
    if isinstance(value, float) and "int" in kinds and value.is_integer():
        return f"write {int(value)}"
    if kinds == {"string"} and isinstance(value, int | float):
        return f'write "{shown(value)}", in quotes'
    return ""


def _own_words(complaint: ErrorDetails) -> str:
    """A message that a validator wrote, or pydantic's own where there are no better words."""
    raised = complaint.get("ctx", {}).get("error")
    if raised is not None:
        return str(raised)
    message = complaint["msg"].removeprefix("Input ").removeprefix("should be ")
    return f"must be {message}, got {shown(complaint['input'])}"
