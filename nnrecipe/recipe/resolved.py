"""A resolved config as YAML, with a remark beside each value that says where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from nnrecipe.core.errors import RecipeError
from nnrecipe.core.spec import Spec
from nnrecipe.recipe.nodes import DEFAULT, Node, to_plain
from nnrecipe.recipe.yaml_source import parse_yaml

_ENDLESS = 1_000_000  # a line width that nothing reaches
_REMARKS = 40  # column at which remarks start


def render(recipe: Spec, root: Node) -> str:
    """The recipe with every default filled in; `root` is the config that it was made from.

    What is printed is a config itself, and means the same.
    """
    return "\n".join(_entries(recipe.model_dump(mode="json"), root, "")) + "\n"


def _entries(values: dict[str, Any], node: Node | None, indent: str) -> Iterator[str]:
    for key, value in sorted(values.items(), key=lambda entry: entry[0] != "kind"):
        child = node.entries.get(key) if node is not None else None
        yield from _entry(f"{indent}{_scalar(key)}:", value, child, indent)


def _entry(head: str, value: Any, node: Node | None, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from _entries(value, node, f"{indent}  ")
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        yield head
        for index, item in enumerate(value):
            child = node.entries.get(str(index)) if node is not None else None
            yield from _item(item, child, f"{indent}  ")
    else:
        origin = node.origin if node is not None else DEFAULT
        remark = " ".join(origin.short.split())
        yield f"{f'{head} {_flat(value)}':<{_REMARKS}} # {remark}"


def _item(value: Any, node: Node | None, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        first, *rest = _entries(value, node, f"{indent}  ")
        yield f"{indent}- {first.removeprefix(f'{indent}  ')}"
        yield from rest
    else:
        yield from _entry(f"{indent}-", value, node, indent)


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return "{}" if value == {} else _scalar(value)


def _scalar(value: Any) -> str:
    """One value in one line that reads back as itself, inside a list too; text in quotes if not."""
    text = yaml.safe_dump(value, width=_ENDLESS, allow_unicode=True).removesuffix("\n")
    text = text.removesuffix("\n...")
    if isinstance(value, str) and not _reads_back(text, value):
        text = yaml.safe_dump(value, width=_ENDLESS, allow_unicode=True, default_style='"').strip()
    return text


def _reads_back(text: str, value: str) -> bool:
    try:
        node, _ = parse_yaml(f"[{text}]", lambda _line, _column: DEFAULT)
    except RecipeError:
        return False
    return "\n" not in text and node is not None and to_plain(node) == [value]
