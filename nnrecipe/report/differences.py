"""In what configs differ: the keys, and short words for their values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from nnrecipe.report.wording import clean

Path = tuple[str, ...]
"""Keys from the top of a config; an item of a list is named by its kind."""

MISSING = object()
"""The value of a key that a config lacks."""


def differing(configs: Sequence[Any], path: Path = ()) -> Iterator[Path]:
    """The paths at which resolved configs differ, in their order; a section's kind comes first.

    A key that only some kinds of a section have differs only between those: batch norm's momentum
    is no difference to layer norm, which the kind is.
    """
    values = _alike(configs)
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        for key in sorted(keys, key=lambda key: key != "kind"):
            below = [value[key] for value in values if key in value]
            yield from differing(below, (*path, key))
    elif sections := _by_kind(values):
        yield from differing(sections, path)
    else:
        yield path


def value_at(config: Any, path: Path) -> Any:
    """The value at a path, or `MISSING`; a plain word is the kind of its section."""
    for key in path:
        if isinstance(config, list):
            config = {_kind(item): item for item in config}
        if isinstance(config, str) and key == "kind":
            return config
        if not isinstance(config, dict) or key not in config:
            return MISSING
        config = config[key]
    return config


def label(path: Path) -> str:
    """The dotted path; `norm` for `norm.kind`, as YAML has it for short."""
    return clean(".".join(path[:-1] if len(path) > 1 and path[-1] == "kind" else path))


def texts(values: Sequence[Any]) -> list[str]:
    """Each value on a line, as short as tells them apart; `-` for `MISSING`."""
    whole, short = (
        [_text(value) for value in values],
        [_text(value, short=True) for value in values],
    )
    return short if len(set(short)) == len(set(whole)) else whole


def _text(value: Any, *, short: bool = False) -> str:
    """The value in YAML's spelling; if `short`, a section is its kind, or what is set in it."""
    if value is MISSING:
        return "-"
    if isinstance(value, list):
        return f"[{', '.join(_text(item, short=short) for item in value)}]"
    if isinstance(value, dict):
        if short and "kind" in value:
            return _text(value["kind"])
        told = {k: v for k, v in value.items() if not short or v not in (None, False)}
        return (
            "{" + ", ".join(f"{clean(k)}: {_text(v, short=short)}" for k, v in told.items()) + "}"
        )
    if isinstance(value, float):
        return f"{value:g}"
    return clean(value) if isinstance(value, str) else json.dumps(value, default=str)


def _alike(values: Sequence[Any]) -> list[Any]:
    """The values in one form, where some were spelled out and others were only typed."""
    if any(isinstance(value, list) for value in values):
        return [value for value in values if not isinstance(value, dict)]
    if any(isinstance(value, dict) and "kind" in value for value in values):
        return [{"kind": value} if isinstance(value, str) else value for value in values]
    return list(values)


def _by_kind(values: Sequence[Any]) -> list[dict[str, Any]]:
    """Lists of sections as mappings from kinds; none unless all have the same kinds in turn."""
    if not all(isinstance(value, list) for value in values):
        return []
    kinds = [[_kind(item) for item in value] for value in values]
    same = all(own == kinds[0] for own in kinds)
    if not same or "" in kinds[0] or len(set(kinds[0])) < len(kinds[0]):
        return []
    return [dict(zip(own, value, strict=True)) for own, value in zip(kinds, values, strict=True)]


def _kind(item: Any) -> str:
    """The kind of a section; empty if it is no section or has none."""
    return str(item.get("kind", "")) if isinstance(item, dict) else ""
