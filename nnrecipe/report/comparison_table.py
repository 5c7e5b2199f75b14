"""A comparison in a terminal: one table, however narrow the terminal is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnrecipe.core.findings import Verdict
from nnrecipe.report.comparison import Comparison, Row, Spread
from nnrecipe.report.terminal import COLOURS
from nnrecipe.report.wording import clean, metric, number, spoken

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

BEST = "*"
ANY_WIDTH = 10_000
MOST_DECIMALS = 4

Groups = list[list[str]]
"""Columns that stand side by side where there is room, and else one under the other."""


def print_comparison(comparison: Comparison, *, console: Console) -> None:
    """Print the table and what it leaves to say: which row is best, why others have no figures."""
    from rich.measure import Measurement
    from rich.text import Text

    table = _table(comparison, stacked=False)
    endless = console.options.update(max_width=ANY_WIDTH)
    if Measurement.get(console, endless, table).maximum > console.width:
        table = _table(comparison, stacked=True)
    console.print(table)
    notes = list(_notes(comparison))
    if notes:
        console.print()
    for note in notes:
        console.print(Text(note))


def figure(name: str, spread: Spread | None) -> str:
    """A metric over its runs: `97.22`, `97.22 ± 0.41`, `0.085 ± 0.002`; accuracies in per cent.

    The spread has one digit that counts, or two if the first is a 1; the mean has as many decimals.
    """
    if spread is None:
        return "-"
    scale = 100 if in_percent(name) else 1
    middle, sd = scale * spread.mean, scale * spread.sd
    if math.isnan(sd):
        return metric(name, spread.mean).removesuffix(" %")
    decimals = 2 if in_percent(name) else _decimals(sd)
    if decimals is None or abs(middle) >= ANY_WIDTH:
        return f"{number(middle)} ± {sd:.2g}"
    return f"{middle:.{decimals}f} ± {sd:.{decimals}f}"


def in_percent(name: str) -> bool:
    """Whether a metric is shown in per cent."""
    return name.endswith("accuracy")


def title(name: str) -> str:
    """A metric in words, with its unit: `test accuracy, %`."""
    return f"{spoken(name)}, %" if in_percent(name) else spoken(name)


def _decimals(sd: float) -> int | None:
    """How many decimals show the spread; None if so many that powers of ten read better."""
    if sd == 0:
        return MOST_DECIMALS
    first, _, exponent = f"{sd:.0e}".partition("e")
    places = max((first == "1") - int(exponent), 0)
    return places if places <= MOST_DECIMALS + 1 else None


def _table(comparison: Comparison, *, stacked: bool) -> Table:
    """The table; `stacked` puts each group of columns into one, a line for each of its members."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.header_style = "bold"
    table.add_column("", width=len(BEST))
    settings, *figures, verdict = _heads(comparison, stacked=stacked)
    for head in settings:
        table.add_column(head, overflow="fold", vertical="top" if stacked else "bottom")
    for head in _columns(figures, stacked=stacked):
        table.add_column(head, justify="right", no_wrap=True)
    for head in verdict:
        table.add_column(head, overflow="fold")
    for place, row in enumerate(comparison.rows):
        best = place == comparison.best
        own, *cells = _cells(comparison, row, stacked=stacked)
        columns = [*_columns([own], stacked=stacked), *_columns(cells, stacked=stacked)]
        table.add_row(
            BEST if best else "",
            *map(Text, columns),
            _verdict(row, stacked=stacked),
            style="bold" if best else "",
        )
        if stacked and place < len(comparison.rows) - 1:
            table.add_row()
    return table


def _columns(groups: Groups, *, stacked: bool) -> list[str]:
    if stacked:
        return ["\n".join(group) for group in groups if group]
    return [member for group in groups for member in group]


def _heads(comparison: Comparison, *, stacked: bool) -> Groups:
    titles = [title(name) for name in comparison.metrics]
    if not stacked:
        titles = [words.replace(" ", "\n", 1) for words in titles]
    settings = ["config"] if stacked and comparison.keys else list(comparison.keys)
    counts = ["n"] if several_seeds(comparison) else []
    return [settings, titles, counts, ["train", "total"], ["params"], ["verdict"]]


def _cells(comparison: Comparison, row: Row, *, stacked: bool) -> Groups:
    """What a row has under the heads, but for the verdict."""
    settings = list(row.settings)
    if stacked and settings:
        pairs = zip(comparison.keys, settings, strict=True)
        settings = [f"{key}: {value}" for key, value in pairs if value != "-"] or ["-"]
    spreads = {name: row.spread(name) for name in comparison.metrics}
    figures = [figure(name, spread) for name, spread in spreads.items()]
    counted = str(max((spread.n for spread in spreads.values() if spread), default=0))
    counts = [counted] if several_seeds(comparison) else []
    took = [_brief(seconds) for seconds in (row.train_seconds, row.seconds)]
    return [settings, figures, counts, took, [number(row.parameters)]]


def _verdict(row: Row, *, stacked: bool) -> Text:
    from rich.text import Text

    words = row.outcome
    colours = {verdict.value: style for verdict, style in COLOURS.items()}
    style = colours.get(words.partition(" ")[0], COLOURS[Verdict.FAIL] if row.reports else "dim")
    return Text(words.replace(" at ", "\nat ") if stacked else words, style=style)


def _brief(seconds: float | None) -> str:
    """`0.31 s`, `12.4 s`, `3m 20s`, `2h 05m`."""
    if seconds is None:
        return "-"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def several_seeds(comparison: Comparison) -> bool:
    """Whether any row has more than one run."""
    return any(len(row.attempts) > 1 for row in comparison.rows)


def _notes(comparison: Comparison) -> Iterator[str]:
    """What the figures are, and why some rows have none; a reason that several have, once."""
    if comparison.best is not None:
        yield f"{BEST} best {spoken(comparison.metrics[0])}"
    if several_seeds(comparison):
        yield "mean ± standard deviation over n runs with different seeds; times are means"
    reasons: dict[str, list[str]] = {}
    for row in comparison.rows:
        for remark in row.remarks:
            reasons.setdefault(remark, []).append(comparison.name(row))
    for remark, names in reasons.items():
        yield clean(f"{'; '.join(filter(None, names))}: {remark}".removeprefix(": "))
