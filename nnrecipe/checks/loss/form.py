"""The check of the form of the loss, by exact identities on made-up outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.judgement import Judgement, proof, sign_of
from nnrecipe.checks.loss.labels import mismapped, mispaired
from nnrecipe.checks.loss.mismatch import (
    bounded,
    not_finite,
    of_values,
    over_the_batch,
    relative,
    squashed_twice,
    undecided,
    without_logarithm,
)
from nnrecipe.checks.loss.probe import SURE, UNDONE, Form, LossProbe
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding
from nnrecipe.core.spec import Spec

SOURCE = "lecture: sanity check, loss at chance"
MOST_PULL = 3.0
"""What a batch of undecided examples pulls in all, beyond which its loss is no kind of mean."""


class LossFormCheck(Spec):
    """The loss falls towards the right answers, each example's own, and is a mean of logits'."""

    source: ClassVar[str] = SOURCE

    kind: Literal["loss_form"] = "loss_form"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Probe the loss on made-up outputs; the model takes part only with its kind of output."""
        found = bench.once(judge_form)
        yield Finding(
            check="loss_form",
            verdict=found.verdict,
            measured=found.shown,
            expected="a slope below 0, and twice the batch gives 1 x the loss",
            cause=found.cause,
            confidence=found.confidence,
            advice=found.advice,
            source=SOURCE,
        )


def judge_form(bench: Bench) -> Judgement:
    """What is wrong with the bench's loss behind what its model gives, the first that is found."""
    try:
        return _judge(LossProbe.of(bench), batch_size=bench.batch_size)
    except UNDONE as error:
        # Whether it takes the model's own outputs, the first training step will tell.
        reason = str(error).split("\n")[0]
        return Judgement(f"not measured: the loss doesn't take made-up outputs: {reason}")


def _judge(probe: LossProbe, *, batch_size: int) -> Judgement:
    logits, targets = probe.logits(64), probe.targets(64)
    value = probe(logits, targets)
    if value.numel() != 1:
        return _per_example(value)
    if not math.isfinite(float(value.detach())):
        return not_finite(probe)
    if not probe.has_gradient(logits, targets):
        return _detached()
    pull = probe.pull(logits, targets)
    if not bool(pull.any()):
        return _flat()
    way = _way(probe, logits, targets)
    slope = -float((pull * way).sum() / way.abs().sum())
    growth = _growth(probe, logits, targets, pull)
    shown = f"slope towards the targets {slope:.3g}, twice the batch gives {growth:.3g} x the loss"
    if probe.form is not Form.LOGITS:
        shown += f", behind a model that gives {probe.form}"
    judged = mispaired(probe) or _flipped(probe, slope) or mismapped(probe)
    if probe.task != "regression":
        judged = judged or without_logarithm(probe) or over_the_batch(probe)
        judged = judged or squashed_twice(probe)
    judged = judged or _summed(probe, growth, batch_size=batch_size)
    if probe.task != "regression":
        judged = judged or of_values(probe) or relative(probe) or undecided(probe)
        judged = judged or bounded(probe)
    if judged is None:
        return Judgement(shown, growth=growth)
    return replace(judged, shown=f"{judged.shown}; {shown}" if judged.shown else shown)


def _way(probe: LossProbe, logits: Tensor, targets: Tensor) -> Tensor:
    """The direction from the outputs to the right answer, [N, width]."""
    return (targets - logits).sign() if probe.task == "regression" else probe.answers(targets)


def _per_example(value: Tensor) -> Judgement:
    return proof(
        f"the loss has shape {list(value.shape)}",
        Cause.LOSS_MISMATCH,
        "The loss must be one number: take the mean over the batch, so that the step doesn't "
        "depend on the batch size.",
    )


def _detached() -> Judgement:
    return proof(
        "the loss has no gradient by the outputs",
        Cause.DETACHED_GRAPH,
        "Look for argmax, detach(), .item() or NumPy in the loss: they end the graph, and "
        "nothing can be learned through them.",
    )


def _flat() -> Judgement:
    return proof(
        "the gradient by the outputs is zero",
        Cause.LOSS_MISMATCH,
        "The loss doesn't change with the outputs: look for sign, round or a comparison in it, "
        "which have no slope, and at whether it uses its first argument.",
        confidence=0.9,
    )


def _growth(probe: LossProbe, logits: Tensor, targets: Tensor, pull: Tensor) -> float:
    """What the loss of a batch is multiplied by when the batch is repeated: 1 for a mean.

    It is read off the gradients, where constants don't count.
    """
    twice = probe.pull(torch.cat([logits, logits]), torch.cat([targets, targets]))
    return float(2 * twice[: len(logits)].norm() / pull.norm())


def _flipped(probe: LossProbe, slope: float) -> Judgement | None:
    """Whether the loss rises towards the right answer, and falls below 0 away from it.

    A loss that has its labels mixed up rises as well, but has its floor elsewhere.
    """
    if not slope > 0:
        return None
    if probe.task != "regression":
        targets = probe.targets(8 * probe.outputs.size)
        right = SURE * probe.answers(targets)
        if not probe.value(-right, targets) < min(-1e-3, probe.value(right, targets)):
            return None
    return proof(
        "",
        Cause.SIGN_FLIPPED,
        "Minimising this loss leads away from the targets: drop the minus sign, or put one before "
        "a likelihood that is to be made large.",
    )


def _summed(probe: LossProbe, growth: float, *, batch_size: int) -> Judgement | None:
    """Whether the loss is a sum over the batch, and no mean of this recipe's batches either."""
    if not growth > 1.5 or _whole_pull(probe, batch_size) < MOST_PULL:
        return None
    judged = sign_of(
        "",
        Cause.SUM_REDUCTION,
        "The loss is a sum over the batch, so the step grows with the batch size and the rate that "
        "fits one doesn't fit another: take the mean.",
        confidence=0.85,
    )
    return replace(judged, growth=growth)


def _whole_pull(probe: LossProbe, batch_size: int) -> float:
    """The pull on a batch of undecided examples, summed: at most about 1 for any kind of mean."""
    targets = probe.targets(batch_size)
    pull = probe.pull(torch.zeros(batch_size, probe.width, device=probe.device), targets)
    if probe.task == "regression":
        return float(pull.abs().sum()) / (2 * max(1.0, float(targets.abs().mean())))
    return float((pull * probe.answers(targets)).clamp(min=0).sum())
