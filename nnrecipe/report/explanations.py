"""A diagnosis in words: one account of each cause for the page, the terminal and TensorBoard."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnrecipe.core.diagnosis import Diagnosis
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.meanings import MEANINGS
from nnrecipe.report.store import CONFIG_FILE
from nnrecipe.report.wording import GRAVEST_FIRST, clean, percent, spoken

LONGEST_FURTHER_ADVICE = 80
"""Characters up to which the advice of a further finding is added to a cause's own."""
MOST_FURTHER_ADVICE = 1
SUREST = 0.99
"""What is said of a cause that is as good as certain."""


@dataclass(frozen=True)
class Evidence:
    """A finding that speaks for a cause: `stage` and `check`, and what it found if it is known.

    One that names another cause is a `symptom`: something that this cause brings about.
    """

    stage: str
    check: str
    finding: Finding | None = None
    symptom: bool = False

    @property
    def key(self) -> str:
        """`stage/check`, as the diagnosis names it."""
        return f"{self.stage}/{self.check}"


@dataclass(frozen=True)
class Explanation:
    """One cause, all of it on single lines without control characters.

    `changes` are overrides of the config, quoted for a shell; `where` is a line of the user's code.
    """

    place: int
    code: str
    name: str
    meaning: str
    sure: str
    confidence: float
    evidence: tuple[Evidence, ...]
    advice: tuple[str, ...]
    changes: str
    where: str
    source: str

    @property
    def signs(self) -> tuple[Evidence, ...]:
        """The findings that name this cause."""
        return tuple(seen for seen in self.evidence if not seen.symptom)

    @property
    def symptoms(self) -> tuple[Evidence, ...]:
        """The findings that this cause accounts for."""
        return tuple(seen for seen in self.evidence if seen.symptom)


def explain(report: Report) -> list[Explanation]:
    """The report's causes, the likeliest first."""
    return [_explain(place, d, report) for place, d in enumerate(report.diagnosis, start=1)]


def explained_by(stage: str, finding: Finding, causes: Sequence[Explanation]) -> Explanation | None:
    """The likeliest cause that a finding is evidence of, if there is one."""
    if finding.verdict is Verdict.PASS:
        return None
    key = f"{stage}/{finding.check}"
    return next((c for c in causes if key in [evidence.key for evidence in c.evidence]), None)


def in_shell(changes: Sequence[str]) -> str:
    """Overrides as they are typed after `nnrecipe run`, quoted where they must be."""
    return " ".join(shlex.quote(clean(change)) for change in changes)


def rerun(folder: Path) -> str:
    """The command that runs again from the config that a run folder keeps, if it keeps one."""
    path = folder / CONFIG_FILE
    return f"nnrecipe run {shlex.quote(str(path if path.is_file() else CONFIG_FILE))}"


def _explain(place: int, diagnosis: Diagnosis, report: Report) -> Explanation:
    return Explanation(
        place=place,
        code=diagnosis.cause.value,
        name=spoken(diagnosis.cause),
        meaning=MEANINGS[diagnosis.cause],
        sure=f"{percent(min(diagnosis.confidence, SUREST))} sure",
        confidence=diagnosis.confidence,
        evidence=tuple(_evidence(diagnosis, report)),
        advice=tuple(_advice(diagnosis, report)),
        changes=in_shell(diagnosis.change),
        where=clean(diagnosis.where),
        source=clean(diagnosis.source),
    )


def _evidence(diagnosis: Diagnosis, report: Report) -> Iterator[Evidence]:
    """Each finding that the diagnosis names; of those that share a name one with its cause."""
    found: dict[str, list[Finding]] = {}
    for stage in report.stages:
        for finding in sorted(stage.findings, key=lambda f: GRAVEST_FIRST.index(f.verdict)):
            found.setdefault(f"{stage.stage}/{finding.check}", []).append(finding)
    for key in diagnosis.evidence:
        stage_name, _, check = key.partition("/")
        findings = found.get(key, [])
        own = [finding for finding in findings if finding.cause == diagnosis.cause]
        first = next(iter(own or findings), None)
        yield Evidence(stage_name, check, first, symptom=bool(findings) and not own)


def _advice(diagnosis: Diagnosis, report: Report) -> Iterator[str]:
    """The diagnosis' own advice, then what else is said of this cause if it is short."""
    findings = [f for stage in report.stages for f in stage.findings if f.cause == diagnosis.cause]
    findings.sort(key=lambda f: (GRAVEST_FIRST.index(f.verdict), -f.confidence))
    own, *others = dict.fromkeys(
        clean(line) for line in [diagnosis.advice, *(f.advice for f in findings)]
    )
    if own:
        yield own
    short = [line for line in others if line and len(line) <= LONGEST_FURTHER_ADVICE]
    yield from short[:MOST_FURTHER_ADVICE]
