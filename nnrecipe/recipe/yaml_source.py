"""YAML 1.2 as data alone, with the place of every key and value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from nnrecipe.core.errors import Problem, RecipeError
from nnrecipe.recipe.nodes import Node, Origin, Path, Scalar, dotted, shown
from nnrecipe.recipe.yaml_syntax import explain_syntax

_MOST_VALUES = 20_000  # after aliases are expanded: a few lines can stand for billions
DEEPEST = 50  # levels of nesting
_LARGEST_INT = 2**63 - 1

_CORE = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
_REGEXPS = {tag: re.compile(f"(?:{pattern})$") for tag, (pattern, _) in _PATTERNS.items()}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2: `1e-3` is a number, `on` and `no` are text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own class attribute)


for _tag, (_, _first) in _PATTERNS.items():
    _Loader.add_implicit_resolver(_CORE + _tag, _REGEXPS[_tag], _first)

Locate = Callable[[int, int], Origin]
"""Names the place of a line and column, both from 1."""


def parse_yaml(text: str, locate: Locate) -> tuple[Node | None, list[Problem]]:
    """The tree of one YAML document (None if it is empty), and what is wrong with single values.

    Raises `RecipeError` if the text is no YAML at all, nests too deep or unfolds into too much.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        message, remedy, line, column = explain_syntax(error, text)
        raise RecipeError([Problem(str(locate(line, column)), "YAML", message, remedy)]) from error
    except RecursionError as error:
        raise RecipeError([_too_deep(locate(1, 1), ())]) from error
    except (ValueError, OverflowError) as error:  # PyYAML hands "\UFFFFFFFF" to chr()
        where = str(locate(loader.line + 1, loader.column + 1))
        remedy = "\\x, \\u and \\U in double quotes stand for characters: use single quotes"
        raise RecipeError([Problem(where, "YAML", "no such character", remedy)]) from error
    if root is None:
        return None, []
    reading = _Reading(locate)
    return reading.node(root, ()), reading.problems


def _too_deep(origin: Origin, path: Path) -> Problem:
    remedy = f"a config has at most {DEEPEST} levels"
    return Problem(str(origin), dotted(path[:3]) or "YAML", "is nested too deep", remedy)


@dataclass
class _Reading:
    """Turns PyYAML's nodes into ours and collects what is wrong on the way."""

    locate: Locate
    problems: list[Problem] = field(default_factory=list)
    values: int = 0

    def node(self, node: yaml.Node, path: Path) -> Node:
        self.values += 1
        origin = self.place(node)
        if len(path) > DEEPEST:
            raise RecipeError([_too_deep(origin, path)])
        if self.values > _MOST_VALUES:
            message = f"unfolds into more than {_MOST_VALUES:,} values"
            remedy = "aliases (*name) that hold aliases multiply: write the section out"
            raise RecipeError([Problem(str(origin), dotted(path[:3]) or "YAML", message, remedy)])
        if isinstance(node, MappingNode) and node.tag == _CORE + "map":
            return Node(self.mapping(node, path), origin)
        if isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
            items = [self.node(item, (*path, str(i))) for i, item in enumerate(node.value)]
            return Node(list(items), origin)
        if isinstance(node, ScalarNode):
            return Node(self.scalar(node, path), origin)
        self.blame(node, path, f"has the tag {node.tag!r}, which means nothing here", _TAGS)
        return Node(None, origin)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _CORE + "merge":
                for key, value in self.merge(value_node, path).items():
                    merged.setdefault(key, value)
                continue
            key = self.key(key_node, path)
            if key in own:
                message = f"the key {shown(key)} is given twice, first at {own[key].key}"
                self.blame(key_node, (*path, key), message, "keep one of the two")
                continue
            value = self.node(value_node, (*path, key))
            own[key] = replace(value, key=self.place(key_node))
        return {**merged, **own}

    def merge(self, node: yaml.Node, path: Path) -> dict[str, Node]:
        """The entries that `<<: *anchor` or `<<: [*one, *two]` brings in; earlier ones win."""
        sources = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source, MappingNode):
                self.blame(source, (*path, "<<"), "must be an alias of a mapping", "<<: *name")
                continue
            merged = {**_entries(self.node(source, (*path, "<<"))), **merged}
        return merged

    def key(self, node: yaml.Node, path: Path) -> str:
        if not isinstance(node, ScalarNode):
            self.blame(
                node, path, f"a key must be text, got {_shape(node)}", "write a word, then ':'"
            )
            return "?"
        if node.tag != _CORE + "str":
            message = f"a key must be text, got {node.value or 'nothing'}"
            self.blame(node, (*path, node.value), message, f'write "{node.value}" if it is a name')
        return str(self.text(node, path))

    def scalar(self, node: ScalarNode, path: Path) -> Scalar:
        kind = node.tag.removeprefix(_CORE)
        if kind == "str" or kind == "merge":
            return self.text(node, path)
        if kind not in _REGEXPS:
            self.blame(node, path, f"has the tag {node.tag!r}, which means nothing here", _TAGS)
            return None
        if not _REGEXPS[kind].match(node.value):
            self.blame(
                node, path, f"{shown(node.value)} is not of type {kind}", "leave the tag out"
            )
            return None
        return self.number(node, path) if kind in {"int", "float"} else _constant(kind, node.value)

    def number(self, node: ScalarNode, path: Path) -> int | float | None:
        text = node.value
        digits = text.lstrip("+-0").lower()
        if node.tag == _CORE + "int" and len(digits) <= 66:
            base = {"0x": 16, "0o": 8}.get(text[:2], 10)
            value = int(text, base)
            if abs(value) <= _LARGEST_INT:
                return value
        elif node.tag == _CORE + "float":
            number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if math.isfinite(number):
                return number
        named = "is not a finite number" if "." in text[:2] else "is too large a number"
        self.blame(node, path, f"{text[:40]} {named}", "give a number that a computer can hold")
        return None

    def text(self, node: ScalarNode, path: Path) -> str:
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            self.blame(node, path, f"{shown(node.value)} is not valid Unicode", "retype the text")
            return ""
        return str(node.value)

    def place(self, node: yaml.Node) -> Origin:
        mark = node.start_mark
        return self.locate(mark.line + 1, mark.column + 1)

    def blame(self, node: yaml.Node, path: Path, message: str, remedy: str) -> None:
        self.problems.append(
            Problem(str(self.place(node)), dotted(path) or "YAML", message, remedy)
        )


_TAGS = "leave the tag out: a config holds plain text, numbers, lists and mappings"


def _entries(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _shape(node: yaml.Node) -> str:
    return "a mapping" if isinstance(node, MappingNode) else "a list"


def _constant(kind: str, text: str) -> bool | None:
    return text.lower() == "true" if kind == "bool" else None
