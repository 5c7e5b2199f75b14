"""How a trained network compares with a classifier that takes a second to fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict

SHORTFALL = 0.12
"""How far below the reference an accuracy is a symptom.

The reference makes the most of few examples; a sound network needs more epochs to be level with it.
"""


def judge_against_reference(
    results: Sequence[StageResult], metrics: dict[str, float], *, examples: int
) -> Finding | None:
    """The best epoch's validation accuracy against the data stage's reference.

    `examples` are those of the validation split. None where either was not measured.
    """
    facts = {result.stage: result.facts for result in results}
    reference = facts.get("data", {}).get("reference_accuracy")
    reached = metrics.get("val_accuracy")
    if reached is None or not isinstance(reference, float) or "train" not in facts:
        return None
    noise = math.sqrt(max(reference * (1 - reference), 0.01) / max(examples, 1))
    allowed = SHORTFALL + 3 * noise
    short = reached < reference - allowed
    return Finding(
        check="against_reference",
        verdict=Verdict.WARN if short else Verdict.PASS,
        measured=f"accuracy {reached:.3f} in validation, a simple classifier {reference:.3f}",
        expected=f"no more than {allowed:.2f} below the simple classifier",
        cause=Cause.UNDERFITTING if short else None,
        confidence=0.4 if short else 0.0,
        advice="A classifier that takes a second to fit does far better, so the data are sound: "
        "the fault lies in the network or its training."
        if short
        else "",
        source="CS231n notes: baselines",
    )
