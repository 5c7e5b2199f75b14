"""The sanity stage: what has to hold before a single step is taken."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from nnrecipe.checks import Bench, SanityCheck, findings
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.spec import Spec, members
from nnrecipe.stages.run import Run


class SanityStage(Spec):
    """Outputs, loss, regularization and gradients of the untrained model."""

    source: ClassVar[str] = "lecture: sanity checks"

    kind: Literal["sanity"] = "sanity"
    checks: tuple[SanityCheck, ...] = Field(
        tuple(check() for check in members(SanityCheck)),
        description="what is checked, in this order",
    )

    def run(self, run: Run) -> StageResult:
        """Check in order; without an output for each class nothing further can be computed."""
        told: list[Finding] = []
        run.progress.begin(self.kind, total=len(self.checks))
        for check in self.checks:
            found = list(findings(check, run.bench))
            told += found
            run.progress.advance()
            if any(f.cause is Cause.WRONG_OUTPUT_SIZE and f.verdict is Verdict.FAIL for f in found):
                return StageResult.of(self.kind, {}, told)
        return StageResult.of(self.kind, _facts(run.bench), told)


def _facts(bench: Bench) -> dict[str, Any]:
    """The figures of the untrained model; `penalty_at_init` is what L1 and L2 add to the loss."""
    model = bench.make_model()
    with torch.no_grad():
        penalty = bench.penalty(model).item()
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss_at_init": bench.start_loss(),
        "loss_at_chance": bench.chance,
        "penalty_at_init": penalty,
    }
