"""The report in a terminal, at 80 columns or fewer, with or without colour."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.html import HTML_FILE
from nnrecipe.report.wording import (
    GRAVEST_FIRST,
    clean,
    duration,
    headline,
    metric,
    percent,
    printable,
    remarkable,
    spoken,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MOST_MEASURED = 2
COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def terminal() -> Console:
    """A console on standard output; what its encoding lacks is printed as `?`, never raised."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


def print_report(report: Report, folder: Path, *, console: Console | None = None) -> None:
    """Print stages, remarks, causes, metrics, the verdict and where the report lies."""
    from rich.text import Text

    console = console or terminal()
    console.print()
    console.print(_stages(report))
    console.print()
    for stage, finding in remarkable(report):
        console.print(_remark(stage, finding))
        console.print()
    if report.diagnosis:
        console.print(Text("most likely causes", style="bold"))
        console.print(_causes(report))
        console.print()
    if report.metrics:
        console.print(_metrics(report))
        console.print()
    verdict = Text(report.verdict.value.upper(), style=COLOURS[report.verdict])
    console.print(verdict.append(f"  {headline(report)}", style="not bold default"))
    console.print(Text(f"report  {printable(str(folder / HTML_FILE))}"), soft_wrap=True)


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


def _remark(stage: str, finding: Finding) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = {"measured": finding.measured, "expected": finding.expected, "advice": finding.advice}
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


def _causes(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for place, diagnosis in enumerate(report.diagnosis, start=1):
        evidence = clean(", ".join(diagnosis.evidence))
        cause = Text(f"{diagnosis.cause.value}").append(f"  {evidence}", style="dim")
        grid.add_row(f"{place}.", percent(diagnosis.confidence), cause)
    return grid


def _metrics(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold", justify="right")
    for name, value in report.metrics.items():
        grid.add_row(Text(spoken(name), style="dim"), Text(metric(name, value)))
    return grid
