"""Facts of any shape, laid out as a list of values and as tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from nnrecipe.report.wording import clean, metric, number, spoken

MOST_LISTED = 12
MOST_ROWS = 200
MOST_OPEN_ROWS = 12
FOLDED = frozenset({"ladder", "history", "layers", "experiments", "all_trials"})
"""Tables of figures that stand in a chart as well."""
LONGEST_VALUE = 400
SEPARATOR = " \N{MIDDLE DOT} "  # commas stand within figures


@dataclass(frozen=True)
class Table:
    """A fact with rows: its name, the column heads, and cells as text.

    One that is `folded` is long, or says what a chart shows: it is there for whoever asks.
    """

    name: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class FactSheet:
    """A stage's facts for reading: short ones by name, the others as tables."""

    values: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]


def lay_out(facts: dict[str, Any], *, drawn: Collection[str] = ()) -> FactSheet:
    """Lay out the facts, except those that a chart has `drawn`."""
    values, tables = [], []
    for key, value in facts.items():
        if key in drawn:
            continue
        name = spoken(key)
        table = _table(name, value)
        if table is None:
            values.append((name, _figure(key, value)))
        else:
            folded = key in FOLDED or len(table.rows) > MOST_OPEN_ROWS
            tables.append(replace(table, folded=folded))
    return FactSheet(tuple(values), tuple(tables))


def _table(name: str, value: Any) -> Table | None:
    """The fact as a table if it has rows: mappings in a list or a mapping, or a long mapping."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _of_rows(name, value)
    if isinstance(value, dict) and value:
        if all(isinstance(row, dict) for row in value.values()):
            return _of_rows(name, [{"": key, **row} for key, row in value.items()])
        if len(value) > MOST_LISTED // 2:
            return _of_rows(name, [{"": key, "value": item} for key, item in value.items()])
    return None


def _of_rows(name: str, rows: list[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = tuple(tuple(_figure(key, row.get(key)) for key in keys) for row in rows[:MOST_ROWS])
    left_out = f" ({len(rows) - MOST_ROWS} more in report.json)" if len(rows) > MOST_ROWS else ""
    return Table(name + left_out, tuple(spoken(key) for key in keys), cells)


def _figure(name: str, value: Any) -> str:
    """A value on one line, with the unit that its name tells."""
    return metric(name, value) if isinstance(value, float) else _line(value)


def _line(value: Any) -> str:
    """A value on one line; long lists by their length, and by their ends where they are figures."""
    if isinstance(value, dict):
        return SEPARATOR.join(f"{clean(key)} {_line(item)}" for key, item in value.items())
    if not isinstance(value, list):
        return clean(number(value), limit=LONGEST_VALUE)
    if any(isinstance(item, list | dict) for item in value):
        return f"{len(value)} rows"
    if len(value) <= MOST_LISTED:
        return clean(SEPARATOR.join(number(item) for item in value), limit=LONGEST_VALUE) or "none"
    return f"{len(value)} values: {number(value[0])} ... {number(value[-1])}"
