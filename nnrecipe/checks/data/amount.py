"""Whether there are examples enough, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import FEWEST, agree
from nnrecipe.checks.data.readings import read
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Count, Fraction, Spec

SOURCE = "lecture: learning curves; Figueroa et al. 2012"
HALVES = 4
HALVED_OFTEN = 1000
"""Training examples up to which several halves are drawn: the fewer, the more one half may err."""


@dataclass(frozen=True)
class Curve:
    """The score in validation of a simple classifier, learning from all examples and from half."""

    half: float
    whole: float
    error: float

    @property
    def gain(self) -> float:
        """What doubling the examples has brought."""
        return self.whole - self.half


def learning_curve(bench: Bench) -> Curve | None:
    """The score by all the training examples that were read, and by half of them."""
    agreement = bench.once(agree)
    if agreement is None:
        return None
    count = len(bench.once(read).train)
    draws = generator(bench.seed, "halves")
    halves = [
        agreement.learnt_from(torch.randperm(count, generator=draws)[: count // 2]).score
        for _ in range(HALVES if count <= HALVED_OFTEN else 1)
    ]
    return Curve(sum(halves) / len(halves), agreement.val.score, agreement.val.error)


class AmountCheck(Spec):
    """The training split is not so small that more examples would clearly help."""

    source: ClassVar[str] = SOURCE

    kind: Literal["amount"] = "amount"
    few: Count = Field(
        80, description="training examples of the largest class (or label) below which they are few"
    )
    gain: Fraction = Field(
        0.02, description="what the last doubling brought a simple classifier, if few are too few"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Learn from half of the examples and from all, and see whether the score still rises.

        Where parameters are declared frozen, somebody else's data have taught the network.
        """
        count, val = len(bench.data.train), len(bench.data.val)
        # Few of one class but not of another are another fault.
        each = max(bench.outputs.class_counts, default=count)
        curve = bench.once(learning_curve)
        rises = count < FEWEST if curve is None else curve.gain > self.gain + curve.error
        short = each < self.few and rises and not bench.frozen
        told = f"{count} training examples, at most {each} of a kind"
        if curve is not None:
            told += f"; with half of them a simple classifier scores {curve.half:.2f}, "
            told += f"with all {curve.whole:.2f}"
        # Nobody holds out more than is trained on, but for a mistake.
        confidence = 0.5 + 0.1 * (each < self.few / 4) + 0.2 * (count < val)
        yield Finding(
            check="amount",
            verdict=Verdict.WARN if short else Verdict.PASS,
            measured=told,
            expected=f"{self.few} of each kind, or no more to gain by doubling",
            cause=Cause.TOO_LITTLE_DATA if short else None,
            confidence=confidence if short else 0.0,
            advice="Check that the training split is whole (data.limit, a Subset, the wrong file): "
            "the network will learn these few by heart. Else collect more, augment, or start from "
            "a pretrained network."
            if short
            else "",
            source=SOURCE,
        )
