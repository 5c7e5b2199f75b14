"""The check that regularization does something: the loss goes up with it, as on the slide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.spec import Spec
from nnrecipe.regularization import Regularization


class RegularizationCheck(Spec):
    """The total loss rises in proportion to L1 and L2, and their gradient is not zero.

    A recipe without either is probed with an L2 of 1, which is how the slide tests the code.
    """

    source: ClassVar[str] = "lecture: sanity check, crank up the regularization"

    kind: Literal["regularization"] = "regularization"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the loss with and without the penalty to sums taken over the weights by hand."""
        model = bench.make_model()
        weights = [weight for weight in weights_of(model).values() if weight.requires_grad]
        penalty = bench.penalty if bench.penalty.active else Regularization(l2=1.0).penalty()
        squares = sum(float(weight.detach().double().square().sum()) for weight in weights)
        sizes = sum(float(weight.detach().double().abs().sum()) for weight in weights)
        expected = penalty.l2 * squares + penalty.l1 * sizes
        if not expected:
            return  # all weights are zero: there is nothing to regularize yet
        with torch.no_grad():
            loss = float(bench.loss_of(model, bench.sample(bench.data.train, 256)))
        extra = penalty(model)
        gradients = torch.autograd.grad(extra, weights, allow_unused=True)
        moves = any(gradient is not None and bool(gradient.any()) for gradient in gradients)
        rise = float(extra.detach())
        right = math.isclose(rise, expected, rel_tol=1e-3) and moves
        wrong = Cause.REG_SIGN if rise < 0 else Cause.REG_INACTIVE
        yield Finding(
            check="loss_with_regularization",
            verdict=Verdict.PASS if right else Verdict.FAIL,
            measured=f"{loss:.5g} -> {loss + rise:.5g} (up {rise:.5g})",
            expected=f"up {expected:.5g} (l2={penalty.l2:g}, l1={penalty.l1:g})",
            cause=None if right else wrong,
            confidence=0.0 if right else 0.9,
            advice="" if right else "The penalty doesn't reach the loss or the gradient.",
            source=self.source,
        )
