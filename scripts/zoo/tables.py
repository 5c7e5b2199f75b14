"""The scores as tables: for the terminal, and as Markdown for the README."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from zoo.case import Kind
from zoo.scores import EVERY_TOOL, OURS, Harm, Scored, alarms, harm, tally


@dataclass(frozen=True)
class Sheet:
    """A table with a title."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as GitHub shows it."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{body}\n"


@dataclass(frozen=True)
class Results:
    """All that has been run."""

    rows: Sequence[Scored]

    def of(self, kind: Kind) -> list[Scored]:
        """The trials of one kind."""
        return [row for row in self.rows if row.case.kind == kind]

    def harms(self, kind: Kind) -> dict[str, Harm]:
        """For each faulty case, by name, how much it hurts."""
        return {
            name: harm(
                rows,
                [row for row in self.of("control") if row.case.name == rows[0].case.control],
                must_hurt=rows[0].case.must_hurt,
            )
            for name, rows in grouped(self.of(kind), lambda row: row.case.name).items()
        }


def grouped(rows: Iterable[Scored], key: Callable[[Scored], str]) -> dict[str, list[Scored]]:
    """The rows by what `key` gives, in the order of their first."""
    groups: dict[str, list[Scored]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


FAULTY: tuple[tuple[Kind, str], ...] = (("fault", "The zoo's faults"), ("extra", "Further faults"))
HEALTHY: tuple[tuple[Kind, str], ...] = (
    ("healthy", "False alarms on the healthy controls"),
    ("control", "False alarms on the recipes that faults are seeded into"),
)


def sheets(results: Results) -> list[Sheet]:
    """Every table for which there are results."""
    made = []
    for kind, title in FAULTY:
        if results.of(kind):
            made += [sheet(results, kind, title) for sheet in (_by_case, _by_entry, _summary)]
    made += [_false_alarms(results.of(kind), title) for kind, title in HEALTHY if results.of(kind)]
    return made


def _summary(results: Results, kind: Kind, title: str) -> Sheet:
    rows = _counted(results, kind)
    header = ("tool", "runs", "detected, %", "cause first, %", "in first 3, %", "precision, %")
    lines = []
    for tool in EVERY_TOOL:
        found = tally(rows, tool)
        shares = (found.detection, found.top1, found.top3, found.precision)
        lines.append((tool, str(found.trials), *map(_percent, shares)))
    return Sheet(f"{title}: all runs that count", header, lines)


def _counted(results: Results, kind: Kind) -> list[Scored]:
    """The trials of the faults that hurt, or needn't."""
    harms = results.harms(kind)
    return [row for row in results.of(kind) if harms[row.case.name].counts]


def _by_entry(results: Results, kind: Kind, title: str) -> Sheet:
    lines = []
    for entry, rows in grouped(_counted(results, kind), lambda row: row.case.entry).items():
        shares = []
        for tool in EVERY_TOOL:
            found = tally(rows, tool)
            first = "" if found.top1 is None else f" / {_percent(found.top1)}"
            shares.append(f"{_percent(found.detection)}{first}")
        lines.append((entry, " or ".join(rows[0].case.causes), str(len(rows)), *shares))
    header = ("entry", "cause", "runs", *EVERY_TOOL)
    return Sheet(f"{title}, entry by entry: detected / cause named first, %", header, lines)


def _by_case(results: Results, kind: Kind, title: str) -> Sheet:
    harms = results.harms(kind)
    header = (
        "case", "cause", "control better by", "p", "counts", "detected, %", "first, %", "in 3, %",
        "named",
    )  # fmt: skip
    lines = []
    for name, rows in grouped(results.of(kind), lambda row: row.case.name).items():
        found, hurt = tally(rows, OURS), harms[name]
        asked = (found.top1, found.top3) if rows[0].case.must_hurt else _causes(rows)
        lines.append((
            name,
            " or ".join(rows[0].case.causes),
            f"{100 * hurt.difference:.1f} points",
            "-" if hurt.p is None else f"{hurt.p:.3f}",
            "yes" if hurt.counts else "no",
            *map(_percent, (found.detection, *asked)),
            "; ".join(dict.fromkeys(", ".join(row.said[:3]) or "-" for row in rows)),
        ))  # fmt: skip
    return Sheet(f"{title}, case by case ({OURS})", header, lines)


def _causes(rows: Sequence[Scored]) -> tuple[float, float]:
    """Top-1 and top-3 of cases whose causes the totals leave out."""
    named = [row.answers[OURS].named for row in rows]
    first = sum(any(right[:1]) for right in named) / len(named)
    return first, sum(any(right[:3]) for right in named) / len(named)


def _false_alarms(rows: Sequence[Scored], title: str) -> Sheet:
    lines = []
    for tool in EVERY_TOOL:
        found = alarms(rows, tool)
        loud = [row for row in rows if row.answers[tool].verdict != "pass"]
        names = dict.fromkeys(f"{row.case.name} ({', '.join(row.said[:3])})" for row in loud)
        of = f" of {found.trials}"
        lines.append((
            tool, f"{found.fail}{of}", f"{found.warn}{of}", f"{found.error}{of}",
            "; ".join(names) if tool == OURS else "",
        ))  # fmt: skip
    return Sheet(title, ("tool", "fail", "warn", "error", "where"), lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}".removesuffix(".0")
