"""The check of what comes out of the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import Task
from nnrecipe.core.spec import Spec

NOUNS: dict[Task, str] = {
    "single_label": "class",
    "multi_label": "label",
    "regression": "value",
    "several": "class, label or value of the tasks",
}


class OutputsCheck(Spec):
    """The model gives one finite number for each class, label or value."""

    source: ClassVar[str] = "lecture: architecture"

    kind: Literal["outputs"] = "outputs"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Run a batch of eight through the initial model."""
        batch = bench.sample(bench.data.train, 8)
        with torch.no_grad():
            logits = bench.make_model().eval()(batch.inputs)
        wanted, width = bench.outputs.size, logits.shape[-1]
        what = NOUNS[bench.outputs.task]
        finite = bool(torch.isfinite(logits).all()) or not bool(torch.isfinite(batch.inputs).all())
        verdict, cause, advice = Verdict.PASS, None, ""
        further = width > wanted and bench.outputs.task == "regression"
        if further and _uses_all(bench, logits, batch.targets):
            advice = ""  # a distribution of each value: its mean and its spread, say
        elif width < wanted or (width > wanted and bench.outputs.task != "single_label"):
            verdict, cause = Verdict.FAIL, Cause.WRONG_OUTPUT_SIZE
            advice = f"Give the last layer {wanted} outputs, one for each {what}."
        elif width > wanted:
            verdict, cause = Verdict.WARN, Cause.WRONG_OUTPUT_SIZE
            advice = f"The last layer has {width - wanted} outputs that no class uses."
        elif not finite:
            verdict, cause = Verdict.FAIL, Cause.NON_FINITE
            advice = "The untrained model already overflows: look at its initial weights."
        yield Finding(
            check="outputs",
            verdict=verdict,
            measured=f"{width} outputs" + ("" if finite else ", some of them not finite"),
            expected=f"{wanted} finite outputs, one for each {what}",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=advice,
            source=self.source,
        )


def _uses_all(bench: Bench, outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss takes so many outputs, and has a gradient by each of them.

    Outputs that are stretched to the shape of the targets, or these to theirs, are no use made.
    """
    given = outputs.detach().float().clone().requires_grad_()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # of shapes that broadcast
            loss = bench.make_loss()(given, targets)
            (gradient,) = torch.autograd.grad(loss, given)
    except Exception:  # of a user's loss that takes no such outputs
        return False
    return bool(gradient.any(0).all())
