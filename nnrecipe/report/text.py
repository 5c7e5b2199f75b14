"""The report as Markdown, for TensorBoard's text page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nnrecipe.core.report import Report
from nnrecipe.report.explanations import Explanation, explain, explained_by
from nnrecipe.report.wording import (
    clean,
    duration,
    headline,
    metric,
    remarkable,
    spoken,
)

SPECIAL = frozenset("\\`*_{}[]()<>#+!|~$&\"'")


def markdown(report: Report) -> str:
    """The report's verdict, causes, stages, remarks and metrics."""
    causes = explain(report)
    parts = [
        f"# {escape(report.name)}: {report.verdict.value}",
        escape(headline(report)),
        "## Most likely causes" if causes else "",
        *map(_cause, causes),
        _stages(report),
        _remarks(report, causes),
        _metrics(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` on one line, in which Markdown and HTML see nothing but text."""
    return "".join(f"&#{ord(c)};" if c in SPECIAL else c for c in clean(text))


def _cause(cause: Explanation) -> str:
    heading = f"### {cause.place}. {escape(cause.name)}, {cause.sure}"
    return "\n\n".join([heading, escape(cause.meaning), "\n".join(_details(cause))])


def _details(cause: Explanation) -> Iterator[str]:
    for line in cause.advice:
        yield f"- **What to do:** {escape(line)}"
    if cause.changes:
        yield f"- **In the config:** <code>{escape(cause.changes)}</code>"
    if cause.where:
        yield f"- **In your code:** <code>{escape(cause.where)}</code>"
    for heading, evidence in (("Seen by", cause.signs), ("Explains", cause.symptoms)):
        if evidence:
            yield f"- **{heading}:** {', '.join(escape(seen.key) for seen in evidence)}"
    if cause.source:
        yield f"- **Source:** {escape(cause.source)}"


def _stages(report: Report) -> str:
    rows = [
        (escape(stage.stage), stage.verdict.value, duration(stage.seconds))
        for stage in report.stages
    ]
    return _table("Stages", ("stage", "verdict", "time"), rows)


def _remarks(report: Report, causes: Sequence[Explanation]) -> str:
    rows = []
    for stage, finding in remarkable(report):
        cause = explained_by(stage, finding, causes)
        advice = finding.advice if cause is None else f"see cause {cause.place}, {cause.name}"
        words = (f"{stage}/{finding.check}", finding.measured, finding.expected, advice)
        rows.append((finding.verdict.value, *map(escape, words)))
    return _table("Findings", ("verdict", "check", "measured", "expected", "advice"), rows)


def _metrics(report: Report) -> str:
    rows = [
        (escape(spoken(name)), escape(metric(name, value)))
        for name, value in report.metrics.items()
    ]
    return _table("Metrics", ("metric", "value"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join(
        [f"## {title}\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *body]
    )
