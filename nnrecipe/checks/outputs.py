"""The check of what comes out of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec


class OutputsCheck(Spec):
    """The model gives one finite logit for each class."""

    kind: Literal["outputs"] = "outputs"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Run a batch of eight through the initial model."""
        batch = bench.sample(bench.data.train, 8)
        with torch.no_grad():
            logits = bench.make_model().eval()(batch.inputs)
        classes, width = bench.num_classes, logits.shape[-1]
        finite = bool(torch.isfinite(logits).all()) or not bool(torch.isfinite(batch.inputs).all())
        verdict, cause, advice = Verdict.PASS, None, ""
        if width < classes:
            verdict, cause = Verdict.FAIL, Cause.WRONG_OUTPUT_SIZE
            advice = f"Give the last layer {classes} outputs: some labels have no logit."
        elif width > classes:
            verdict, cause = Verdict.WARN, Cause.WRONG_OUTPUT_SIZE
            advice = f"The last layer has {width - classes} outputs that no label uses."
        elif not finite:
            verdict, cause = Verdict.FAIL, Cause.NON_FINITE
            advice = "The untrained model already overflows: look at its initial weights."
        yield Finding(
            check="outputs",
            verdict=verdict,
            measured=f"{width} outputs" + ("" if finite else ", some of them not finite"),
            expected=f"{classes} finite logits, one for each class",
            cause=cause,
            confidence=0.95 if verdict is Verdict.FAIL else 0.6 if cause else 0.0,
            advice=advice,
            source="lecture: architecture",
        )
