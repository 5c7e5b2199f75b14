"""How verdicts, causes and figures read, the same in the terminal, in HTML and in TensorBoard."""

from __future__ import annotations

from typing import Any

from nnrecipe.core.findings import Diagnosis, Finding, Report, Verdict

GRAVEST_FIRST = (Verdict.FAIL, Verdict.WARN, Verdict.PASS)


def clean(text: str, *, limit: int | None = None) -> str:
    """`text` on one line, cut at `limit`, without control characters, which steer terminals."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if limit is not None and len(line) > limit:
        return line[: limit - 3].rstrip() + "..."
    return line


def spoken(code: str) -> str:
    """A code in words: `init_too_large` is "init too large"."""
    return clean(code.replace("_", " "))


def number(value: Any) -> str:
    """A figure as people write it: `61,706`, `0.0257`, `1e-05`, yes or no; other values as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e7 else f"{value:,.0f}"
    return "-" if value is None else clean(str(value))


def metric(name: str, value: Any) -> str:
    """A metric's value: accuracies in per cent, the rest as `number` has it."""
    if name.endswith("accuracy") and isinstance(value, float):
        return f"{value:.2%}".replace("%", " %")
    return number(value)


def duration(seconds: float) -> str:
    """`0.31 s`, `12.4 s`, `3 min 20 s`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def headline(report: Report) -> str:
    """The outcome in one sentence."""
    verdicts = [finding.verdict for stage in report.stages for finding in stage.findings]
    checks = counted(len(verdicts), "check")
    cause = f" Most likely: {spoken(report.diagnosis[0].cause)}." if report.diagnosis else ""
    if report.verdict is Verdict.FAIL:
        first = next((s.stage for s in report.stages if s.verdict is Verdict.FAIL), "run")
        return f"{verdicts.count(Verdict.FAIL)} of {checks} failed, first in {clean(first)}.{cause}"
    if report.verdict is Verdict.WARN:
        noticed = verdicts.count(Verdict.WARN)
        return f"Nothing failed; {noticed} of {checks} deserve a look.{cause}"
    return f"All {checks} passed."


def counted(amount: int, noun: str) -> str:
    """`1 check`, `3 checks`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def advice_on(diagnosis: Diagnosis, report: Report) -> list[str]:
    """What the findings that name this cause advise, the gravest and surest first."""
    findings = [f for stage in report.stages for f in stage.findings if f.cause == diagnosis.cause]
    findings.sort(key=lambda f: (GRAVEST_FIRST.index(f.verdict), -f.confidence))
    return list(dict.fromkeys(finding.advice for finding in findings if finding.advice))


def remarkable(report: Report) -> list[tuple[str, Finding]]:
    """The findings that aren't `pass`, each with its stage, failures first."""
    found = [(s.stage, f) for s in report.stages for f in s.findings if f.verdict != Verdict.PASS]
    return sorted(found, key=lambda item: GRAVEST_FIRST.index(item[1].verdict))
