"""The report as Markdown, for TensorBoard's text page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nnrecipe.core.report import Report
from nnrecipe.report.wording import (
    advice_on,
    clean,
    duration,
    headline,
    metric,
    percent,
    remarkable,
    spoken,
)

SPECIAL = frozenset("\\`*_{}[]()<>#+!|~$&\"'")


def markdown(report: Report) -> str:
    """The report's verdict, causes, stages, remarks and metrics."""
    parts = [
        f"# {escape(report.name)}: {report.verdict.value}",
        escape(headline(report)),
        _causes(report),
        _stages(report),
        _remarks(report),
        _metrics(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` on one line, in which Markdown and HTML see nothing but text."""
    return "".join(f"&#{ord(c)};" if c in SPECIAL else c for c in clean(text))


def _causes(report: Report) -> str:
    lines = []
    for place, diagnosis in enumerate(report.diagnosis, start=1):
        evidence = escape(", ".join(diagnosis.evidence))
        advice = " ".join(escape(line) for line in advice_on(diagnosis, report))
        sure = f"{percent(diagnosis.confidence)} sure, seen by {evidence}"
        lines.append(f"{place}. **{escape(spoken(diagnosis.cause))}** ({sure}). {advice}".rstrip())
    return "## Most likely causes\n\n" + "\n".join(lines) if lines else ""


def _stages(report: Report) -> str:
    rows = [
        (escape(stage.stage), stage.verdict.value, duration(stage.seconds))
        for stage in report.stages
    ]
    return _table("Stages", ("stage", "verdict", "time"), rows)


def _remarks(report: Report) -> str:
    rows = [
        (
            finding.verdict.value,
            escape(f"{stage}/{finding.check}"),
            escape(finding.measured),
            escape(finding.expected),
            escape(finding.advice),
        )
        for stage, finding in remarkable(report)
    ]
    return _table("Findings", ("verdict", "check", "measured", "expected", "advice"), rows)


def _metrics(report: Report) -> str:
    rows = [(escape(name), escape(metric(name, value))) for name, value in report.metrics.items()]
    return _table("Metrics", ("metric", "value"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join(
        [f"## {title}\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *body]
    )
