"""PyYAML's complaints in plain words."""

from __future__ import annotations

import yaml
from yaml.error import MarkedYAMLError
from yaml.reader import ReaderError

_REPHRASED = {
    "mapping values are not allowed": (
        "there is a second ': ' in this line, or a line above is indented differently",
        "quote text that holds ': ', and indent keys of one section equally",
    ),
    "found character '\\t'": ("there is a tab", "indent with spaces"),
    "could not find expected ':'": (
        "a key without ':'",
        "write `key: value`; quote text that goes over several lines",
    ),
    "found unexpected end of stream": (
        "the text ends inside quotes that were opened here",
        "close the quotes",
    ),
    "expected ',' or ']'": ("the list opened here isn't closed", "close it with ']'"),
    "expected ',' or '}'": ("the mapping opened here isn't closed", "close it with '}'"),
    "expected <block end>": (
        "this line doesn't fit the ones above it",
        "indent keys of one section equally; put each on a line of its own",
    ),
    "found undefined alias": (
        "an alias (*name) without an anchor (&name) above it",
        "define it first",
    ),
    "cannot start any token": (
        "this character can't start a value",
        "put quotes around text that starts with it",
    ),
    "but found another document": ("a second document ('---') starts here", "keep one document"),
    "expected the node content": (
        "a value is missing, or starts with a sign that means something in YAML",
        "put quotes around text that starts with it",
    ),
    "sequence entries are not allowed": (
        "a list item ('- ') can't stand here",
        "start it on a line of its own, under its key",
    ),
    "second occurrence": ("an anchor (&name) with this name exists already", "rename it"),
}
_BLAME_THE_START = ("expected ',' or", "found unexpected end of", "could not find expected ':'")


def explain_syntax(error: yaml.YAMLError, text: str) -> tuple[str, str, int, int]:
    """Message, remedy, line and column (from 1) of a syntax error in `text`."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        return (
            f"the character U+{ord(text[error.position]):04X} is not allowed",
            "remove it",
            line,
            column,
        )
    if not isinstance(error, MarkedYAMLError):
        return str(error).split("\n")[0], "", 1, 1
    problem = f"{error.problem or error.context or error}"
    mark = error.problem_mark or error.context_mark
    if error.context_mark and problem.startswith(_BLAME_THE_START):
        mark = error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    for phrase, (message, remedy) in _REPHRASED.items():
        if phrase in problem:
            return message, remedy, line, column
    return problem, "", line, column
