"""The report in a terminal, at 80 columns or fewer, with or without colour."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.explanations import Explanation, explain, explained_by, rerun
from nnrecipe.report.html import HTML_FILE
from nnrecipe.report.wording import (
    GRAVEST_FIRST,
    clean,
    duration,
    headline,
    metric,
    printable,
    remarkable,
    spoken,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MOST_MEASURED = 2
INDENT = 3
COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def terminal() -> Console:
    """A console on standard output; what its encoding lacks is printed as `?`, never raised."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


def print_report(report: Report, folder: Path | None, *, console: Console | None = None) -> None:
    """Print stages, remarks, metrics, causes, the verdict and where the report lies, if kept."""
    from rich.text import Text

    console = console or terminal()
    causes = explain(report)
    console.print()
    console.print(_stages(report))
    console.print()
    for stage, finding in remarkable(report):
        console.print(_remark(stage, finding, explained_by(stage, finding, causes)))
        console.print()
    if report.metrics:
        console.print(_metrics(report))
        console.print()
    print_causes(report, console=console)
    verdict = Text(report.verdict.value.upper(), style=COLOURS[report.verdict])
    console.print(verdict.append(f"  {headline(report)}", style="not bold default"))
    if folder is not None:
        _print_paths(folder, causes, console)


def print_causes(report: Report, *, console: Console | None = None) -> None:
    """Print the causes, the likeliest first, each with what to do about it; nothing if none."""
    from rich.text import Text

    console, causes = console or terminal(), explain(report)
    if causes:
        console.print(Text(f"most likely cause{'s' * (len(causes) > 1)}", style="bold"))
        console.print()
    for cause in causes:
        _print_cause(cause, console)
        console.print()


def _print_paths(folder: Path, causes: Sequence[Explanation], console: Console) -> None:
    """Where the report lies, and the command that tries the likeliest repair: whole, to copy."""
    from rich.text import Text

    console.print(Text(f"report  {printable(str(folder / HTML_FILE))}"), soft_wrap=True)
    if causes and causes[0].changes:
        command = printable(f"{rerun(folder)} {causes[0].changes}")
        console.print(Text(f"try     {command}"), soft_wrap=True)


def _stages(report: Report) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("what was found")  # the one column that gives way
    for stage in report.stages:
        table.add_row(
            Text(clean(stage.stage)),
            Text(stage.verdict.value, style=COLOURS[stage.verdict]),
            duration(stage.seconds),
            Text(found(stage), no_wrap=True, overflow="ellipsis"),
        )
    return table


def found(stage: StageResult) -> str:
    """What a stage found on one line: what stands out, or else what one or two checks measured."""
    notable = sorted(stage.findings, key=lambda f: GRAVEST_FIRST.index(f.verdict))
    notable = [finding for finding in notable if finding.verdict is not Verdict.PASS]
    if notable:
        return "; ".join(f"{spoken(f.check)}: {clean(f.measured)}" for f in notable)
    if len(stage.findings) > MOST_MEASURED:
        return f"{len(stage.findings)} checks passed"
    return "; ".join(clean(finding.measured) for finding in stage.findings)


def _remark(stage: str, finding: Finding, cause: Explanation | None) -> Table:
    """A finding; what one that is evidence of a cause advises is for the cause to say."""
    from rich.table import Table
    from rich.text import Text

    rows = {"measured": finding.measured, "expected": finding.expected}
    if cause is not None:
        rows["cause"] = f"{cause.place}. {cause.name}"
    else:
        rows |= {"advice": finding.advice, "change": " ".join(finding.change)}
        rows["look at"] = finding.where
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(
        Text(finding.verdict.value, style=COLOURS[finding.verdict]),
        Text(clean(f"{stage}/{finding.check}"), style="bold"),
    )
    for name, value in rows.items():
        if value:
            grid.add_row(Text(name, style="dim"), Text(clean(value)))
    return grid


def _print_cause(cause: Explanation, console: Console) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    told = [("advice", line) for line in cause.advice]
    told += [
        ("change", cause.changes),
        ("look at", cause.where),
        ("seen by", clean(", ".join(seen.key for seen in cause.signs))),
        ("explains", clean(", ".join(seen.key for seen in cause.symptoms))),
        ("source", cause.source),
    ]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    before = ""
    for name, line in told:
        if line:
            grid.add_row(Text(name if name != before else "", style="dim"), Text(line))
            before = name
    heading = Text(f"{cause.place}. {cause.name}", style="bold").append(
        f"  {cause.sure}", style="not bold"
    )
    console.print(heading.append(f"  {cause.code}", style="not bold dim"))
    indent = min(INDENT, console.width // 10)
    console.print(Padding(Text(cause.meaning), (0, 0, 0, indent)))
    console.print(Padding(grid, (0, 0, 0, indent)))


def _metrics(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold", justify="right")
    for name, value in report.metrics.items():
        grid.add_row(Text(spoken(name), style="dim"), Text(metric(name, value)))
    return grid
