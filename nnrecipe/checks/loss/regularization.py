"""The check that regularization does something: the loss goes up with it, as on the slide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec
from nnrecipe.regularization import Penalty, Regularization, penalized


class RegularizationCheck(Spec):
    """The total loss rises in proportion to L1 and L2, and so does its gradient.

    A recipe without either is probed with an L2 of 1, which is how the slide tests the code.
    """

    source: ClassVar[str] = "lecture: sanity check, crank up the regularization"

    kind: Literal["regularization"] = "regularization"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the loss with and without the penalty to sums taken over the weights by hand."""
        model = bench.make_model()
        weights = penalized(model)
        penalty = bench.penalty if bench.penalty.active else Regularization(l2=1.0).penalty()
        expected = _by_hand(penalty, weights)
        if not expected.rise:
            return  # all weights are zero: there is nothing to regularize yet
        with torch.no_grad():
            loss = float(bench.loss_of(model, bench.sample(bench.data.train, 256)))
        found = _measured(penalty, weights)
        cause, advice = _judge(found, expected)
        yield Finding(
            check="loss_with_regularization",
            verdict=Verdict.FAIL if cause else Verdict.PASS,
            measured=f"{loss:.5g} -> {loss + found.rise:.5g} (up {found.rise:.5g}, and "
            f"{found.doubled:.3g} x that with twice the factors)",
            expected=f"up {expected.rise:.5g} (l2={penalty.l2:g}, l1={penalty.l1:g}), then 2 x",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=advice,
            source=self.source,
        )


@dataclass(frozen=True)
class Effect:
    """What a penalty adds to the loss, how many times that with twice the factors, and its slope.

    The slope is the derivative by the logarithm of all weights' size: how much it shrinks them.
    """

    rise: float
    doubled: float
    slope: float


def _by_hand(penalty: Penalty, weights: Sequence[Tensor]) -> Effect:
    """l2 * sum(W^2) + l1 * sum(|W|), in double precision."""
    squares = sum(float(weight.detach().double().square().sum()) for weight in weights)
    sizes = sum(float(weight.detach().double().abs().sum()) for weight in weights)
    rise = penalty.l2 * squares + penalty.l1 * sizes
    return Effect(rise, 2.0, 2 * penalty.l2 * squares + penalty.l1 * sizes)


def _measured(penalty: Penalty, weights: Sequence[Tensor]) -> Effect:
    extra = penalty.of(weights)
    rise = float(extra.detach())
    with torch.no_grad():
        twice = float(replace(penalty, l1=2 * penalty.l1, l2=2 * penalty.l2).of(weights))
    slope = 0.0
    if extra.requires_grad:
        gradients = torch.autograd.grad(extra, weights, allow_unused=True)
        slope = sum(
            float((gradient * weight.detach()).sum())
            for gradient, weight in zip(gradients, weights, strict=True)
            if gradient is not None
        )
    return Effect(rise, twice / rise if rise else 0.0, slope)


def _judge(found: Effect, expected: Effect) -> tuple[Cause | None, str]:
    if found.rise < 0 or found.slope < 0:
        return Cause.REG_SIGN, (
            "The penalty rewards large weights: add it to the loss, and don't subtract it."
        )
    pairs = zip(
        (found.rise, found.doubled, found.slope),
        (expected.rise, expected.doubled, expected.slope),
        strict=True,
    )
    if all(math.isclose(a, b, rel_tol=1e-3) for a, b in pairs):
        return None, ""
    return Cause.REG_INACTIVE, (
        "The penalty doesn't reach the loss or the gradient in proportion to its factor: look "
        "whether it takes the weights themselves, neither detached nor copied."
    )
