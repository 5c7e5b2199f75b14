"""A config as a tree in which every value knows where it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Scalar = None | bool | int | float | str
Path = tuple[str, ...]
"""The keys and list indices that lead to a value, from the top of the file."""

_LONGEST_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class Origin:
    """Where something was written: a file's line and column (from 1), or an override as typed."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part)

    @property
    def short(self) -> str:
        """`config.yaml:3`: the file without its folder, for a remark beside a value."""
        return f"{self.source.rsplit('/', 1)[-1]}:{self.line}" if self.line else self.source


DEFAULT = Origin("default")
"""The origin of what no file and no override gives."""


@dataclass(frozen=True)
class Node:
    """A value, where it is written, and where its key is (if it has one)."""

    value: Scalar | dict[str, Node] | list[Node]
    origin: Origin
    key: Origin | None = None

    @property
    def place(self) -> Origin:
        """Where the eye should go: a plain value itself, the key of a mapping or a list."""
        return self.key if self.key and isinstance(self.value, dict | list) else self.origin

    @property
    def entries(self) -> dict[str, Node]:
        """The children by their path segment; none for a scalar."""
        if isinstance(self.value, dict):
            return self.value
        if isinstance(self.value, list):
            return {str(index): item for index, item in enumerate(self.value)}
        return {}


def to_plain(node: Node) -> Any:
    """The value without its origins: dictionaries, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: to_plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [to_plain(item) for item in node.value]
    return node.value


def to_nodes(value: Any, origin: Origin) -> Node:
    """A plain value as a tree that was all written in one place."""
    if isinstance(value, dict):
        return Node({key: to_nodes(child, origin) for key, child in value.items()}, origin, origin)
    if isinstance(value, list | tuple):
        return Node([to_nodes(item, origin) for item in value], origin, origin)
    return Node(value, origin, origin)


def find(root: Node, path: Path) -> tuple[Node, int]:
    """The node at `path`, or its nearest ancestor that is there; and how many steps were taken."""
    node = root
    for steps, segment in enumerate(path):
        if segment not in node.entries:
            return node, steps
        node = node.entries[segment]
    return node, len(path)


def dotted(path: Sequence[str]) -> str:
    """`optimizer.lr`; a key that can't be printed as it is, or is very long, is quoted."""
    return ".".join(_clip(key if key.isprintable() and key else repr(key)) for key in path)


def shown(value: Any) -> str:
    """A value as a message quotes it: `'abc'`, `true`, `[1, 2]`, `a mapping`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return _clip(f"[{', '.join(map(shown, value))}]")
    return _clip(repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
