"""Verdicts with evidence: findings, the stages they belong to, and the report of a whole run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from nnrecipe.core.causes import Cause


class Verdict(StrEnum):
    """How a check ended: a symptom alone is a `warn`, with a failed outcome or a proof a `fail`."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of the verdicts; `pass` if there is none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.PASS)


def plain(value: Any) -> Any:
    """The value in JSON's terms: NaN and infinity become the words `nan`, `inf` and `-inf`."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


Facts = Annotated[dict[str, Any], BeforeValidator(plain)]


class Finding(BaseModel):
    """What one check measured, what it should have been, and what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    verdict: Verdict
    measured: str
    expected: str
    cause: Cause | None = None
    confidence: float = Field(0.0, ge=0, le=1)
    advice: str = ""
    source: str = ""


class StageResult(BaseModel):
    """How one stage of the recipe ended. `facts` are its figures, in JSON's types."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    verdict: Verdict
    seconds: float
    facts: Facts
    findings: tuple[Finding, ...]

    def finding(self, check: str) -> Finding:
        """The finding of a check. Raises `KeyError` if it wasn't made."""
        return {finding.check: finding for finding in self.findings}[check]

    @classmethod
    def of(cls, stage: str, facts: dict[str, Any], findings: Iterable[Finding]) -> StageResult:
        """A stage that ended with these findings; the runner adds how long it took."""
        findings = tuple(findings)
        verdict = worst(finding.verdict for finding in findings)
        return cls(stage=stage, verdict=verdict, seconds=0.0, facts=facts, findings=findings)


class Diagnosis(BaseModel):
    """One cause, how sure it is, and the findings (`stage/check`) that speak for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: Cause
    confidence: float
    evidence: tuple[str, ...]


class Report(BaseModel):
    """The outcome of a run, as `report.json` holds it (version 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str
    verdict: Verdict
    stages: tuple[StageResult, ...]
    metrics: Facts
    diagnosis: tuple[Diagnosis, ...]

    @property
    def exit_code(self) -> int:
        """0 for pass and warn, 1 for fail."""
        return int(self.verdict is Verdict.FAIL)

    def stage(self, name: str) -> StageResult:
        """The result of a stage. Raises `KeyError` if the walk didn't come to it."""
        return {stage.stage: stage for stage in self.stages}[name]

    @classmethod
    def of(cls, name: str, stages: Iterable[StageResult], metrics: dict[str, Any]) -> Report:
        """Put the stages together: the worst verdict, and the causes ranked over all of them."""
        stages = tuple(stages)
        verdict = worst(stage.verdict for stage in stages)
        return cls(
            name=name,
            verdict=verdict,
            stages=stages,
            metrics=metrics,
            diagnosis=rank_causes(stages),
        )


def rank_causes(stages: Iterable[StageResult]) -> tuple[Diagnosis, ...]:
    """Every cause that a finding names, best first: proved ones, then by confidence.

    Findings that agree on a cause are taken as independent: 1 - prod(1 - confidence).
    """
    named = [(stage.stage, f) for stage in stages for f in stage.findings if f.cause is not None]
    causes = dict.fromkeys(finding.cause for _, finding in named if finding.cause is not None)
    ranked = []
    for cause in causes:
        speaking = [(stage, f) for stage, f in named if f.cause is cause]
        doubt = math.prod(1 - finding.confidence for _, finding in speaking)
        evidence = tuple(dict.fromkeys(f"{stage}/{f.check}" for stage, f in speaking))
        proved = any(finding.verdict is Verdict.FAIL for _, finding in speaking)
        diagnosis = Diagnosis(cause=cause, confidence=round(1 - doubt, 3), evidence=evidence)
        ranked.append((not proved, doubt, diagnosis))
    return tuple(diagnosis for *_, diagnosis in sorted(ranked, key=lambda row: row[:2]))
