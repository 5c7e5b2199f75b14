"""The check of what form the outputs have: logits, or numbers that something has squashed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, outputs_of, redraw
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec

SOURCE = "lecture: loss functions, softmax"
SCALES = (4.0, 1.0, 16.0)
"""Of the weights that the outputs are tried with; what squashes them does so with any."""
LIMIT = 1.5
"""Bounds that lie within +-1.5 are those of a sigmoid, a softmax or a tanh."""
SIGNS = 48
"""Independent outputs of one sign that show that the other one is never given."""
ADVICE = {
    Cause.DOUBLE_SOFTMAX: (
        "The model ends in a softmax and the loss applies another, so that it can't fall below "
        "ln(1 + (C-1)/e): return logits from forward (drop nn.Softmax or F.softmax)."
    ),
    Cause.SIGMOID_LOGITS: (
        "The last activation (a sigmoid, a tanh or a clamp) keeps the outputs within narrow "
        "bounds, and the loss applies its own: return logits from forward."
    ),
    Cause.RELU_LOGITS: (
        "The last activation cuts off one sign, so that no output can speak against a class and "
        "units that are cut off get no gradient: end forward with the linear layer."
    ),
}


class OutputFormCheck(Spec):
    """The model gives logits where the loss squashes them itself.

    What a last activation does to the outputs it does whatever the weights, so these are drawn anew
    several times, large ones among them. Log-probabilities pass, and so do probabilities where the
    loss takes the logarithm itself; a regression may have any range.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["output_form"] = "output_form"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Look for a range that no weights lead out of."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        judged = bench.outputs.task != "regression" and wants_logits(bench)
        span = output_span(bench)
        cause = span.cause if judged else None
        yield Finding(
            check=self.kind,
            verdict=Verdict.FAIL if cause else Verdict.PASS,
            measured=span.told,
            expected="logits of any size" if judged else "any: the loss doesn't ask for logits",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=ADVICE[cause] if cause else "",
            source=SOURCE,
        )


@dataclass
class OutputSpan:
    """Between which bounds all outputs lay; `signs` counts those that are independent."""

    low: float = math.inf
    high: float = -math.inf
    sums_to_one: bool = True
    signs: int = 0

    def add(self, outputs: Tensor) -> None:
        """Take in the outputs [N, C] of one draw of the weights."""
        outputs = outputs.float()
        rows = outputs[torch.isfinite(outputs).all(1)]
        if not len(rows):
            return
        self.low = min(self.low, rows.min().item())
        self.high = max(self.high, rows.max().item())
        sums = (rows.sum(1), outputs.sum(0))  # a softmax over the batch is one, too
        self.sums_to_one &= any(bool(((s - 1).abs() < 1e-3).all()) for s in sums)
        self.signs += rows.shape[1]

    @property
    def free(self) -> bool:
        """Whether outputs beyond both bounds have been seen."""
        return self.low < -LIMIT and self.high > LIMIT

    @property
    def cause(self) -> Cause | None:
        """What the bounds say of the last activation; None if they are those of logits."""
        if self.signs < SIGNS or not self.high > self.low or self.low < -LIMIT:
            return None
        if self.high > LIMIT:
            return Cause.RELU_LOGITS
        simplex = self.sums_to_one and self.low >= 0
        return Cause.DOUBLE_SOFTMAX if simplex else Cause.SIGMOID_LOGITS

    @property
    def told(self) -> str:
        """`outputs from 0 to 1 that sum to 1, whatever the weights`."""
        if self.signs == 0:
            return "not measured: no output is finite"
        sums = " that sum to 1" if self.sums_to_one and self.low >= 0 else ""
        always = "" if self.cause is None else ", whatever the weights"
        return f"outputs from {self.low:.3g} to {self.high:.3g}{sums}{always}"


def output_span(bench: Bench) -> OutputSpan:
    """The bounds of the outputs over redrawn weights; a few draws are enough if there are none."""
    span = OutputSpan()
    inputs = few(bench).inputs
    model = bench.make_model().eval()
    draws = max(4 * len(SCALES), math.ceil(SIGNS / bench.outputs.size))
    for draw in range(draws):
        redraw(model, seed=bench.seed, draw=draw, scale=SCALES[draw % len(SCALES)])
        span.add(outputs_of(model, inputs))
        if span.free:
            break
    return span


@torch.no_grad()
def wants_logits(bench: Bench) -> bool:
    """Whether the loss of right outputs goes on falling beyond 1; that of classes ignores a shift.

    A loss that takes the logarithm of its inputs refuses such outputs, or has no more to gain.
    """
    # on the CPU: on a GPU a loss that refuses such outputs may end the process
    targets = bench.sample(bench.data.train, 64).targets.cpu()
    loss = bench.make_loss()
    if bench.outputs.task == "single_label":
        right = torch.nn.functional.one_hot(targets, bench.outputs.size).float()
        shift = 2.0
    else:
        right, shift = 2 * targets - 1, 0.0
    try:
        near, far = float(loss(right, targets)), float(loss(6 * right, targets))
        moved = float(loss(right + shift, targets)) - near
    except Exception:  # a user's loss may refuse what is no probability in any way
        return False
    return far < near - 1e-3 and abs(moved) < 1e-3 * max(abs(near), 1.0)
