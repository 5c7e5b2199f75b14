"""The check of the classes: all of them there, none of them rare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat, Spec


class ClassesCheck(Spec):
    """Every class is in the training split, and none is rare."""

    source: ClassVar[str] = "lecture: look at the data"

    kind: Literal["classes"] = "classes"
    imbalance: PositiveFloat = Field(
        10.0, description="largest class over smallest, from which imbalance is reported"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Count the training examples of each class; a regression has none."""
        if bench.outputs.task == "multi_label":
            yield _labels_vary(bench)
        if bench.outputs.task != "single_label":
            return
        counts = torch.tensor(bench.outputs.class_counts)
        missing = [bench.data.classes[int(i)] for i in (counts == 0).nonzero().flatten()]
        ratio = float(counts.max() / counts[counts > 0].min())
        uneven = ratio >= self.imbalance and not missing
        advice, cause = "", None
        if missing:
            cause = Cause.MISSING_CLASS
            advice = "The model can't learn a class that it never sees: look at how you split."
        elif uneven:
            cause = Cause.CLASS_IMBALANCE
            advice = "Weigh the classes: loss: {kind: cross_entropy, class_weights: balanced}."
        yield Finding(
            check="classes",
            verdict=Verdict.FAIL if missing else Verdict.WARN if uneven else Verdict.PASS,
            measured=f"no training example of {', '.join(missing)}"
            if missing
            else f"{int(counts.min())} to {int(counts.max())} training examples a class",
            expected=f"every class, the largest less than {self.imbalance:g} x the smallest",
            cause=cause,
            confidence=0.95 if missing else 0.5 if uneven else 0.0,
            advice=advice,
            source=self.source,
        )


def _labels_vary(bench: Bench) -> Finding:
    """Whether each label is there in some training examples, and missing in others."""
    named = zip(bench.data.classes, bench.outputs.class_counts, strict=True)
    fixed = [name for name, count in named if count in (0, bench.outputs.examples)]
    return Finding(
        check="labels",
        verdict=Verdict.FAIL if fixed else Verdict.PASS,
        measured=f"the same in every training example: {', '.join(fixed)}"
        if fixed
        else f"{min(bench.outputs.class_counts)} to {max(bench.outputs.class_counts)} of "
        f"{bench.outputs.examples} training examples have a label",
        expected="each label in some training examples, but not in all",
        cause=Cause.MISSING_CLASS if fixed else None,
        confidence=0.95 if fixed else 0.0,
        advice="The model can't learn a label that never varies: leave it out, or look at how "
        "you split."
        if fixed
        else "",
        source=ClassesCheck.source,
    )
