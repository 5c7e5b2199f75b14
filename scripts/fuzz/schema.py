"""Configs drawn from the JSON Schema: valid in each key by itself, most of the time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Draw = Callable[..., Any]

SCHEMA = json.loads((Path(__file__).parents[2] / "configs" / "recipe.schema.json").read_text())
DEEPEST = 6  # levels at which optional keys are still drawn
WILD = 40  # one value in so many is one that the schema doesn't allow
NUMBERS = (-1e30, -1.0, -1e-6, 0.0, 1e-30, 1e-6, 0.5, 1.0, 2.0, 100.0, 1e6, 1e30)
WHOLE = (-1, 0, 1, 2, 3, 8, 100, 10**6, 10**9, 2**63 - 1)
TEXTS = ("x", "auto", "optimizer.lr", "a.b", "no/such/file", "[", "é", "1", "<script>", "../x", "")

wild = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([*NUMBERS, *WHOLE, *TEXTS]),
    st.sampled_from([[], {}, [1], {"x": 1}, float("nan"), float("inf"), 10**30]),
)


@dataclass(frozen=True)
class Drawn:
    """Draws values of a schema.

    No whole number is above `largest` unless it has to be, no section or word in `without` is used,
    and sections of a definition in `pinned` have these keys.
    """

    largest: int = 2**63
    without: frozenset[str] = frozenset()
    pinned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def value(self, draw: Draw, schema: Any, level: int = 0) -> Any:
        """A value that the schema allows; now and then, one that it doesn't."""
        if level and draw(st.integers(0, WILD)) == WILD:
            return draw(wild)
        return self._allowed(draw, schema, level)

    def definition(self, draw: Draw, name: str, level: int = 0) -> Any:
        """A value of one of the schema's definitions."""
        found = self._allowed(draw, SCHEMA["$defs"][name], level)
        return {**found, **self.pinned[name]} if name in self.pinned else found

    def _allowed(self, draw: Draw, schema: Any, level: int) -> Any:
        match schema:
            case {"$ref": str(reference)}:
                return self.definition(draw, reference.rpartition("/")[2], level)
            case {"allOf": [section, {"required": list(required)}]}:
                return _with_kind(self._allowed(draw, section, level), section, required)
            case {"anyOf": list(options)} | {"oneOf": list(options)}:
                return self._allowed(draw, draw(st.sampled_from(self._usable(options))), level)
            case {"const": word}:
                return word
            case {"enum": list(words)}:
                return draw(st.sampled_from([word for word in words if word not in self.without]))
            case {"type": "object"}:
                return self._mapping(draw, schema, level)
            case {"type": "array"}:
                return self._list(draw, schema, level)
            case {"type": "integer"}:
                return self._whole(draw, schema)
            case {"type": "number"}:
                return draw(st.sampled_from(list(filter(_within(schema), NUMBERS))))
            case {"type": "boolean"}:
                return draw(st.booleans())
            case {"type": "null"}:
                return None
            case {"type": "string", "pattern": str(pattern)}:
                return draw(st.from_regex(pattern, fullmatch=True))
            case {"type": "string"}:
                return draw(st.sampled_from(TEXTS))
            case _:
                return draw(wild)

    def _usable(self, options: list[Any]) -> list[Any]:
        def usable(option: Any) -> bool:
            words = set(option.get("enum", ()))
            reference = option.get("$ref") or option.get("allOf", [{}])[0].get("$ref", "")
            empty = "enum" in option and words <= self.without
            return not empty and reference.rpartition("/")[2] not in self.without

        return [option for option in options if usable(option)]

    def _mapping(self, draw: Draw, schema: Any, level: int) -> dict[str, Any]:
        known, required = schema.get("properties", {}), schema.get("required", [])
        others = [name for name in known if name not in required]
        few = st.lists(st.sampled_from(others), max_size=4 if level < DEEPEST else 0, unique=True)
        chosen = [*required, *(draw(few) if others else [])]
        found = {name: self.value(draw, known[name], level + 1) for name in chosen}
        free = schema.get("additionalProperties")
        if isinstance(free, dict):
            count = draw(st.integers(schema.get("minProperties", 0), 2))
            names = [draw(st.sampled_from(TEXTS)) for _ in range(count)]
            found |= {name: self.value(draw, free, level + 1) for name in names}
        return found

    def _list(self, draw: Draw, schema: Any, level: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(draw, item, level + 1) for item in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        count = draw(st.integers(least, max(least, 3 if level < DEEPEST else 0)))
        return [self.value(draw, schema.get("items", {}), level + 1) for _ in range(count)]

    def _whole(self, draw: Draw, schema: Any) -> int:
        ends = [schema[end] for end in ("minimum", "maximum") if end in schema]
        fitting = [n for n in (*WHOLE, *map(math.floor, ends)) if _within(schema)(n)]
        small = [n for n in fitting if n <= self.largest]
        return int(draw(st.sampled_from(small or [min(fitting)])))


def _with_kind(found: Any, section: Any, required: list[str]) -> Any:
    name = section.get("$ref", "").rpartition("/")[2]
    known = SCHEMA["$defs"].get(name, section).get("properties", {})
    words = {key: known[key]["const"] for key in required if "const" in known.get(key, {})}
    return {**words, **found} if isinstance(found, dict) else found


def _within(schema: Any) -> Callable[[float], bool]:
    return lambda n: (
        schema.get("minimum", -math.inf) <= n <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < n < schema.get("exclusiveMaximum", math.inf)
    )


@st.composite
def recipes(draw: Draw) -> dict[str, Any]:
    """A whole config, parsed."""
    found: dict[str, Any] = Drawn().value(draw, SCHEMA)
    return found
