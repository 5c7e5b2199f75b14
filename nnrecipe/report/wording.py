"""How verdicts, causes and figures read, the same in the terminal, in HTML and in TensorBoard."""

from __future__ import annotations

import math
from typing import Any

from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.report import Report

SPELLED_OUT = {
    "lr": "learning rate", "val": "validation", "std": "standard deviation",
    "init": "initialization", "reg": "regularization", "bn": "batch norm", "eps": "epsilon",
    "adam": "Adam", "relu": "ReLU", "nan": "NaN", "sgd": "SGD",
    "r2": "R2", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "nll": "NLL", "ece": "ECE",
}  # fmt: skip
SCORES = ("test_accuracy", "test_r2", "test_score")
"""What a run is known by: of classes or labels, of a regression, and of several tasks."""
SHARES = ("accuracy", "accuracy_clean", "accuracy_further", "recall", "precision", "probability")
TIMES = ("seconds", "seconds_per_epoch", "budget", "spent")
GRAVEST_FIRST = (Verdict.FAIL, Verdict.WARN, Verdict.PASS)


def printable(text: str) -> str:
    """`text` with a space in place of each control character: those can steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def clean(text: str, *, limit: int | None = None) -> str:
    """`text` on one line, without control characters and repeated spaces, cut at `limit`."""
    line = " ".join(printable(text).split())
    if limit is not None and len(line) > limit:
        return line[: limit - 3].rstrip() + "..."
    return line


def spoken(code: str) -> str:
    """A code in words: `lr_too_high` is "learning rate too high"."""
    words = clean(code.replace("_", " ")).split(" ")
    return " ".join(SPELLED_OUT.get(word, word) for word in words)


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
    """A figure by its name: shares in per cent, times with their unit, the rest as `number`."""
    if isinstance(value, float) and math.isfinite(value):
        if name.endswith(SHARES):
            return percent(value, digits=2)
        if name in TIMES:
            return duration(value)
    return number(value)


def percent(share: float, *, digits: int = 0) -> str:
    """A share of 1 as `97.22 %`."""
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """`0.31 s`, `12.4 s`, `3 min 20 s`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def headline(report: Report) -> str:
    """The outcome in a sentence or two."""
    verdicts = [finding.verdict for stage in report.stages for finding in stage.findings]
    checks = counted(len(verdicts), "check")
    if report.verdict is Verdict.FAIL:
        first = next((s.stage for s in report.stages if s.verdict is Verdict.FAIL), "run")
        text = f"{verdicts.count(Verdict.FAIL)} of {checks} failed, first in {clean(first)}."
    elif report.verdict is Verdict.WARN:
        text = f"Nothing failed; {verdicts.count(Verdict.WARN)} of {checks} deserve a look."
    else:
        text = f"All {checks} passed."
    if report.diagnosis:
        text += f" Most likely: {spoken(report.diagnosis[0].cause)}."
    for score in SCORES:
        if score in report.metrics:
            text += f" {sentence(spoken(score))} {metric(score, report.metrics[score])}."
    return text


def sentence(words: str) -> str:
    """`words` with a capital first, and the others as they are: "Test R2"."""
    return words[:1].upper() + words[1:]


def counted(amount: int, noun: str) -> str:
    """`1 check`, `3 checks`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def remarkable(report: Report) -> list[tuple[str, Finding]]:
    """The findings that aren't `pass`, each with its stage, failures first."""
    found = [(s.stage, f) for s in report.stages for f in s.findings if f.verdict != Verdict.PASS]
    return sorted(found, key=lambda item: GRAVEST_FIRST.index(item[1].verdict))
