"""Checks: each turns evidence into findings with a cause code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, get_args

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data import OF_TARGETS, DataCheck
from nnrecipe.checks.loss import LossCheck
from nnrecipe.checks.loss.regularization import RegularizationCheck
from nnrecipe.checks.model import ModelCheck
from nnrecipe.checks.model.form import OutputFormCheck
from nnrecipe.checks.optimizer import OptimizerCheck
from nnrecipe.core.findings import Finding
from nnrecipe.core.spec import ByKind

SanityCheck = Annotated[ModelCheck | LossCheck | OptimizerCheck, ByKind()]
"""What the sanity stage can check, before any training."""

EACH_TASK = (
    *OF_TARGETS,
    OutputFormCheck,
    *(check for check in get_args(LossCheck) if check is not RegularizationCheck),
)
"""The checks that look at targets, outputs or a loss: of several tasks, at each one's own."""


def findings(check: DataCheck | SanityCheck, bench: Bench) -> Iterator[Finding]:
    """What a check finds; where it looks at each of several tasks, what was measured says which.

    What it finds of all of them alike is told once.
    """
    if not bench.tasks or not isinstance(check, EACH_TASK):
        yield from check.check(bench)
        return
    found = {name: list(check.check(own)) for name, own in bench.tasks.items()}
    told: list[Finding] = []
    for name, own in found.items():
        for finding in own:
            if not all(finding in others for others in found.values()):
                yield finding.model_copy(update={"measured": f"{name}: {finding.measured}"})
            elif finding not in told:
                told.append(finding)
                yield finding


__all__ = ["Bench", "DataCheck", "SanityCheck", "findings"]
