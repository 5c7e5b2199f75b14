"""The report of a whole run, as `report.json` holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from nnrecipe.core.diagnosis import Diagnosis, diagnose_stages
from nnrecipe.core.findings import Facts, StageResult, Verdict, worst


class Report(BaseModel):
    """The outcome of a run (version 1)."""

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
        return cls(
            name=name,
            verdict=worst(stage.verdict for stage in stages),
            stages=stages,
            metrics=metrics,
            diagnosis=diagnose_stages(stages),
        )
