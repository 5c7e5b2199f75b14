"""The check of how much each class counts in the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.form import judge_form
from nnrecipe.checks.loss.judgement import Judgement, proof, sign_of
from nnrecipe.checks.loss.probe import MISTAKEN, UNDONE, LossProbe
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding
from nnrecipe.core.spec import PositiveFloat, Spec

UNEVEN, UNEVEN_LABEL = 1.5, 4.0
"""The ratio from which counts, and weights, are taken to differ.

A label that is there may weigh a third of one that isn't: the focal loss's alpha is 0.25 by custom.
"""


class ClassWeightsCheck(Spec):
    """No class is left out of the loss or reversed in it; rare classes count no less than others.

    What a class counts is measured: the pull on its own output where nothing has been learned.
    """

    source: ClassVar[str] = "lecture: loss functions"

    kind: Literal["class_weights"] = "class_weights"
    warn: PositiveFloat = Field(
        30.0, description="ratio of two weights, beyond what their counts explain, that warns"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Measure the weights, and compare them with the counts of the training split."""
        if bench.outputs.task == "regression" or not bench.once(judge_form).sound:
            return
        try:
            probe = LossProbe.of(bench)
            weights, counts = _measured(probe)
        except UNDONE:
            return
        found = _judge(weights, counts, probe, warn=self.warn)
        yield Finding(
            check="class_weights",
            verdict=found.verdict,
            measured=found.shown,
            expected="weights above 0, from all alike to 1 / count",
            cause=found.cause,
            confidence=found.confidence,
            advice=found.advice,
            source=self.source,
        )


def _measured(probe: LossProbe) -> tuple[Tensor, Tensor]:
    """[G, K] The weights of classes that compete, and their counts.

    Of classes there is one group, all of them; of labels a group each, absent and present.
    """
    outputs = probe.outputs
    targets = probe.targets(max(4 * outputs.size, 64))
    answers = probe.answers(targets)
    pull = probe.pull(probe.logits(len(targets), spread=0.01), targets) * answers
    if outputs.task == "single_label":
        weights = _of_classes(pull.sum(1), targets, outputs.size)
        counts = torch.tensor(outputs.class_counts or [1] * outputs.size)
        return weights[None], counts[None].double()
    shares = [(pull * side).sum(0) / side.sum(0) for side in (answers < 0, answers > 0)]
    present = torch.tensor(outputs.class_counts or [1] * outputs.size)
    absent = outputs.examples - present if outputs.examples else present
    return torch.stack(shares, 1).double().cpu(), torch.stack([absent, present], 1).double()


def _of_classes(pulls: Tensor, targets: Tensor, size: int) -> Tensor:
    """[size] The mean over each class's examples."""
    sums = torch.zeros(size, device=pulls.device).index_add(0, targets, pulls)
    return (sums / targets.bincount(minlength=size)).double().cpu()


def _judge(weights: Tensor, counts: Tensor, probe: LossProbe, *, warn: float) -> Judgement:
    largest = weights.abs().max()
    negative = (weights < -1e-4 * largest).any(0).nonzero()[:, 0].tolist()
    if negative:
        return proof(
            f"the loss rises towards the right answer for {_classes(negative, probe)}",
            Cause.BAD_CLASS_WEIGHTS,
            "A weight below 0 teaches the network to avoid the right answer: give every class a "
            "weight above 0, balanced say.",
        )
    silent = ((weights <= 1e-6 * largest) & (counts > 0)).any(0).nonzero()[:, 0].tolist()
    if silent and _stays_silent(probe, silent):
        return proof(
            f"the loss doesn't change with the outputs for {_classes(silent, probe)}",
            Cause.BAD_CLASS_WEIGHTS,
            "A weight of 0 leaves the class out of training: give every class a weight above 0, "
            "balanced say, and look at ignore_index.",
            confidence=0.9,
        )
    weights, counts = weights.clamp(min=1e-6 * float(largest)).log(), counts.clamp(min=1).log()
    uneven = UNEVEN_LABEL if probe.task == "multi_label" else UNEVEN
    return _compare(weights, counts, warn=warn, uneven=uneven)


def _classes(which: list[int], probe: LossProbe) -> str:
    if probe.task == "multi_label":
        return " and ".join(("absent labels", "present labels")[side] for side in which)
    more = ", ..." if len(which) > 5 else ""
    return f"class {', '.join(map(str, which[:5]))}{more}"


def _stays_silent(probe: LossProbe, silent: list[int]) -> bool:
    """Whether mistakes don't count either, as they do in a loss of the hardest examples alone."""
    if probe.task == "multi_label":
        return True
    targets = probe.targets(4 * probe.outputs.size)
    chosen = torch.isin(targets, torch.tensor(silent, device=targets.device))
    logits = MISTAKEN * probe.answers(targets) * chosen[:, None]
    return not bool(probe.pull(logits, targets)[chosen].any())


def _compare(weights: Tensor, counts: Tensor, *, warn: float, uneven: float) -> Judgement:
    """`weights, counts: [G, K]`, both as logarithms."""
    gains = weights[:, :, None] - weights[:, None, :]
    explained = (counts[:, None, :] - counts[:, :, None]).clamp(min=0)
    excess = math.exp(float((gains - explained).max()))
    spread = math.exp(float(gains.max()))
    imbalance = math.exp(float((counts.amax(1) - counts.amin(1)).max()))
    shown = f"weights 1:{spread:.3g}, counts 1:{imbalance:.3g}"
    if spread > uneven and imbalance > UNEVEN and _grow_together(weights, counts):
        return sign_of(
            f"{shown}; the weights grow with the counts",
            Cause.BAD_CLASS_WEIGHTS,
            "The classes that are frequent weigh most, so the rare ones are learned even less than "
            "without weights: take the counts' inverse (class_weights: balanced).",
            confidence=0.8,
        )
    if excess > warn:
        return sign_of(
            f"{shown}; one class weighs {excess:.3g} times as much as its count explains",
            Cause.BAD_CLASS_WEIGHTS,
            "Nearly all of the gradient is that of one class, so the others are hardly learned: "
            "use class_weights: balanced, or none.",
            confidence=0.85,
        )
    return Judgement(shown)


def _grow_together(weights: Tensor, counts: Tensor) -> bool:
    """Whether the weights [G, K] rise with the counts, in most of the groups."""
    weights = weights - weights.mean(1, keepdim=True)
    counts = counts - counts.mean(1, keepdim=True)
    product = (weights * counts).sum(1)
    sizes = weights.norm(dim=1) * counts.norm(dim=1)
    slope = product / counts.square().sum(1).clamp(min=1e-12)
    uneven = counts.amax(1) - counts.amin(1) > math.log(UNEVEN)
    grow = (product > 0.8 * sizes) & (slope > 0.3) & uneven
    return bool(grow.sum() > 0.5 * uneven.sum())
