"""Checks of the loss: its form, found by exact identities, and its level before training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.shapes import Task
from nnrecipe.core.spec import Spec
from nnrecipe.losses import LossCallable

SOURCE = "lecture: sanity check, loss at chance"


class LossFormCheck(Spec):
    """The loss falls when the right logit rises, is a mean, and normalises its logits."""

    source: ClassVar[str] = SOURCE

    kind: Literal["loss_form"] = "loss_form"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Probe the loss on made-up outputs; the model takes part only with its kind of output."""
        targets = bench.sample(bench.data.train, 64).targets
        made_up = torch.randn(
            len(targets), bench.outputs.size, generator=generator(bench.seed, "loss_form")
        ).to(targets.device)
        loss = bench.make_loss()
        gradient = _slope_to_the_right(loss, made_up, targets, bench.outputs.task)
        if gradient is None:
            yield _no_gradient()
            return
        growth = _batch_growth(loss, made_up, targets)
        shift, log_probabilities = 0.0, False
        if bench.outputs.task == "single_label":
            shift = float(loss(made_up + 1.0, targets) - loss(made_up, targets))
            log_probabilities = _gives_log_probabilities(bench)

        verdict, cause, advice = Verdict.PASS, None, ""
        if gradient > 0:
            verdict, cause = Verdict.FAIL, Cause.SIGN_FLIPPED
            advice = "Minimising this loss leads away from the targets: drop the minus sign."
        elif math.isclose(shift, -1.0, abs_tol=1e-3) and not log_probabilities:
            verdict, cause = Verdict.FAIL, Cause.MISSING_LOG_SOFTMAX
            advice = (
                "This is a negative log-likelihood of raw logits, which has no lower bound: "
                "use cross_entropy, or put log_softmax before it."
            )
        elif growth > 1.5:
            verdict, cause = Verdict.WARN, Cause.SUM_REDUCTION
            advice = (
                "The loss is a sum over the batch, so the step grows with the batch size: "
                "take the mean."
            )
        elif abs(shift) > 1e-3 and not log_probabilities:
            verdict, cause = Verdict.WARN, Cause.LOSS_MISMATCH
            advice = (
                "The loss changes when all logits move together, so it isn't a loss of class "
                "probabilities: for classification use cross_entropy."
            )
        yield Finding(
            check="loss_form",
            verdict=verdict,
            measured=f"slope towards the targets {gradient:.3g}, change under a common shift of "
            f"the logits {shift:.3g}, twice the batch gives {growth:.3g} x the loss",
            expected="below 0, 0, 1",
            cause=cause,
            confidence=0.95 if verdict is Verdict.FAIL else 0.85 if cause else 0.0,
            advice=advice,
            source=SOURCE,
        )


def _no_gradient() -> Finding:
    return Finding(
        check="loss_form",
        verdict=Verdict.FAIL,
        measured="the loss has no gradient by the logits",
        expected="a loss that autograd can follow",
        cause=Cause.DETACHED_GRAPH,
        confidence=0.95,
        advice="Look for argmax, detach(), .item() or NumPy in the loss: they end the graph, and "
        "nothing can be learned through them.",
        source=SOURCE,
    )


def _slope_to_the_right(
    loss: LossCallable, outputs: Tensor, targets: Tensor, task: Task
) -> float | None:
    """The mean derivative of the loss in the direction of the right outputs; None if it has none.

    That is the logit of the right class, up; the logit of a label, up or down; the value itself.
    """
    leaf = outputs.clone().requires_grad_()
    value = loss(leaf, targets)
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    if gradient is None:
        return None
    if task == "single_label":
        return gradient.gather(1, targets[:, None]).mean().item()
    way = targets - 0.5 if task == "multi_label" else targets - outputs
    return (gradient * way.sign()).mean().item()


def _batch_growth(loss: LossCallable, outputs: Tensor, targets: Tensor) -> float:
    """The loss of a batch repeated once, over that of the batch: 1 for a mean, 2 for a sum."""
    once = float(loss(outputs, targets))
    twice = float(loss(torch.cat([outputs, outputs]), torch.cat([targets, targets])))
    return twice / once if once else 1.0


@torch.no_grad()
def _gives_log_probabilities(bench: Bench) -> bool:
    """Whether the exponentials of the model's outputs sum to one."""
    outputs = bench.make_model().eval()(bench.sample(bench.data.train, 16).inputs)
    return bool((outputs.logsumexp(1).abs() < 1e-3).all())
