"""Configs that were presets, before something was done to their keys or bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

from nnrecipe.recipe import Recipe

WORDS = sorted({*Recipe.model_fields, "kind", "lr", "epochs", "widths", "args", "target", "none"})

# Sizes are tiny or beyond all bounds: what lies between would only fill the memory.
numbers = st.sampled_from([-(2**70), -1, 0, 1, 2, 3, 10**13, 2**63, -0.5, 1e-300, 0.5, 1.0, 1e300])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.sampled_from([float("nan"), float("inf"), "auto", "1 epoch", "1e-3", "[", "os:system"]),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(config: Any) -> list[tuple[Any, ...]]:
    """The path of every value in a parsed config."""
    if isinstance(config, dict | list):
        entries = config.items() if isinstance(config, dict) else enumerate(config)
        found = [(key, *rest) for key, value in entries for rest in [(), *paths(value)]]
        return list(dict.fromkeys(found))
    return []


def changed(draw: Callable[..., Any], config: Any) -> Any:
    """The parsed config after something was deleted, renamed, replaced or moved in it."""
    known = paths(config)
    if not known:
        return config
    *above, key = draw(st.sampled_from(known))
    section = config
    for step in above:
        section = section[step]
    match draw(st.sampled_from(["delete", "rename", "replace", "replace", "wrap", "copy"])):
        case "delete":
            del section[key]
        case "rename" if isinstance(section, dict):
            section[draw(st.sampled_from(WORDS) | st.text(max_size=4) | numbers)] = section.pop(key)
        case "wrap":
            section[key] = draw(st.sampled_from([[section[key]], {"kind": section[key]}]))
        case "copy":
            config[draw(st.sampled_from(WORDS))] = section[key]
        case _:
            section[key] = draw(values)
    return config


def scratched(draw: Callable[..., Any], text: bytes) -> bytes:
    """The text with bytes put in, cut out or doubled."""
    start = draw(st.integers(0, len(text)))
    stop = start + draw(st.integers(0, 30))
    match draw(st.sampled_from(["insert", "cut", "double", "line"])):
        case "insert":
            symbols = st.sampled_from([*b"\t\n :-#[]{}&*!|>'\"%@`?,~<0\x00\xff\xe9", *b"\xf0\x9f"])
            return text[:start] + bytes(draw(st.lists(symbols, max_size=4))) + text[start:]
        case "cut":
            return text[:start] + text[stop:]
        case "double":
            return text[:stop] + text[start:]
        case _:
            lines = text.splitlines(keepends=True)
            return b"".join([*lines, *lines[start % len(lines) :][:1]]) if lines else text


@st.composite
def mutated(draw: Callable[..., Any], texts: list[str]) -> bytes:
    """The bytes of a config file that was one of `texts`."""
    text = draw(st.sampled_from(texts))
    if draw(st.booleans()):
        config = yaml.safe_load(text)
        for _ in range(draw(st.integers(0, 3))):
            config = changed(draw, config)
        text = yaml.safe_dump(config, allow_unicode=draw(st.booleans()))
    found: bytes = text.encode(errors="replace")
    for _ in range(draw(st.integers(0, 2))):
        found = scratched(draw, found)
    return found
