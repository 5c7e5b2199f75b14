"""Where the gates of a graph stand: columns from the inputs to the result, few crossings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from nnrecipe.explain.passes import Explanation

SWEEPS = 24


@dataclass(frozen=True)
class Layout:
    """`places` has each gate's column and row, `routes` the points of each edge, in order.

    A route is of the `number`-th edge into gate `end`; it has a point in each column that it
    crosses, so that it goes round the gates there.
    """

    places: tuple[tuple[float, float], ...]
    routes: dict[tuple[int, int], tuple[tuple[float, float], ...]]
    columns: int
    rows: float


def lay_out(explanation: Explanation) -> Layout:
    """Put each gate as far right as its uses let it: an input stands next to where it is used."""
    gates = explanation.gates
    behind = _distances(explanation)
    columns = max(behind) + 1
    column: dict[Point, int] = {
        (place,): columns - 1 - distance for place, distance in enumerate(behind)
    }
    chains: dict[tuple[int, int], list[Point]] = {}
    for end, gate in enumerate(gates):
        for number, edge in enumerate(gate.edges):
            between = range(column[(edge.start,)] + 1, column[(end,)])
            bends: list[Point] = [(edge.start, end, number, at) for at in between]
            column |= dict(zip(bends, between, strict=True))
            chains[end, number] = [(edge.start,), *bends, (end,)]
    rows = _rows(column, chains.values())
    where = {point: (float(column[point]), rows[point]) for point in column}
    return Layout(
        tuple(where[(place,)] for place in range(len(gates))),
        {name: tuple(where[point] for point in chain) for name, chain in chains.items()},
        columns,
        max(rows.values()) + 1,
    )


Point = tuple[int, ...]
"""A gate's place, or where an edge crosses a column."""


def _distances(explanation: Explanation) -> list[int]:
    """The edges on the longest way from each gate to the result."""
    distances = [0] * len(explanation.gates)
    for gate in reversed(explanation.gates):
        for edge in gate.edges:
            distances[edge.start] = max(distances[edge.start], distances[edge.end] + 1)
    return distances


def _rows(column: dict[Point, int], chains: Iterable[list[Point]]) -> dict[Point, float]:
    """Rows at least 1 apart in each column, each near the middle of its neighbours' rows."""
    after: dict[Point, list[Point]] = defaultdict(list)
    before: dict[Point, list[Point]] = defaultdict(list)
    for chain in chains:
        for start, end in pairwise(chain):
            after[start].append(end)
            before[end].append(start)
    members: dict[int, list[Point]] = defaultdict(list)
    for point, at in column.items():
        members[at].append(point)
    rows: dict[Point, float] = {}
    for at in sorted(members, reverse=True):  # a gate's arguments stand in their order
        wanted = {
            point: mean([rows[end] + before[end].index(point) / 100 for end in after[point]] or [0])
            for point in members[at]
        }
        members[at].sort(key=wanted.__getitem__)
        rows |= _apart(members[at], wanted)
    for sweep in range(SWEEPS):
        for at in sorted(members, reverse=bool(sweep % 2)):
            near = {point: [rows[other] for other in (*before[point], *after[point])]
                    for point in members[at]}  # fmt: skip
            rows |= _apart(members[at], {p: mean(r) if r else rows[p] for p, r in near.items()})
    lowest = min(rows.values())
    return {point: row - lowest for point, row in rows.items()}


def _apart(points: list[Point], wanted: dict[Point, float]) -> dict[Point, float]:
    """The wanted rows, moved as little as it takes to keep the order and a distance of 1."""
    groups: list[tuple[float, int]] = []  # sum of (wanted - offset), count
    for number, point in enumerate(points):
        groups.append((wanted[point] - number, 1))
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            (total, count), (before, others) = groups.pop(), groups.pop()
            groups.append((before + total, others + count))
    means = [total / count for total, count in groups for _ in range(count)]
    return {point: means[number] + number for number, point in enumerate(points)}
