"""Verdicts with evidence: findings, and the stages that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

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


class Remedy(BaseModel):
    """What mends a fault, beside the advice in words; left out of the JSON where there is none.

    `change` are the overrides (`optimizer.lr=0.01`) that mend the config, where a value of it is
    the cause; `where` is the line of the user's own code to look at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: tuple[str, ...] = ()
    where: str = ""

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        empty = [name for name in Remedy.model_fields if not written[name]]
        return {name: value for name, value in written.items() if name not in empty}


class Finding(Remedy):
    """What one check measured, what it should have been, and what to do about it."""

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
