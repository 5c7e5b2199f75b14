"""Checks of the loss: its form, found by exact identities, and its level before training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import PositiveFloat, Spec
from nnrecipe.losses import LossCallable

SOURCE = "lecture: sanity check, loss at chance"


class LossFormCheck(Spec):
    """The loss falls when the right logit rises, is a mean, and normalises its logits."""

    kind: Literal["loss_form"] = "loss_form"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Probe the loss on made-up logits; the model takes part only with its kind of output."""
        targets = bench.sample(bench.data.train, 64).targets
        logits = torch.randn(
            len(targets), bench.num_classes, generator=generator(bench.seed, "loss_form")
        ).to(targets.device)
        loss = bench.make_loss()
        gradient = _target_gradient(loss, logits, targets)
        if gradient is None:
            yield _no_gradient()
            return
        shift = float(loss(logits + 1.0, targets) - loss(logits, targets))
        growth = _batch_growth(loss, logits, targets)
        log_probabilities = _gives_log_probabilities(bench)

        verdict, cause, advice = Verdict.PASS, None, ""
        if gradient > 0:
            verdict, cause = Verdict.FAIL, Cause.SIGN_FLIPPED
            advice = "Minimising this loss lowers the right logit: drop the minus sign."
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
            measured=f"gradient at the right logit {gradient:.3g}, change under a common shift of "
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


def _target_gradient(loss: LossCallable, logits: Tensor, targets: Tensor) -> float | None:
    """The mean derivative of the loss by the logit of the right class; None if it has none."""
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, targets)
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return None if gradient is None else gradient.gather(1, targets[:, None]).mean().item()


def _batch_growth(loss: LossCallable, logits: Tensor, targets: Tensor) -> float:
    """The loss of a batch repeated once, over that of the batch: 1 for a mean, 2 for a sum."""
    once = float(loss(logits, targets))
    twice = float(loss(logits.repeat(2, 1), targets.repeat(2)))
    return twice / once if once else 1.0


@torch.no_grad()
def _gives_log_probabilities(bench: Bench) -> bool:
    """Whether the exponentials of the model's outputs sum to one."""
    outputs = bench.make_model().eval()(bench.sample(bench.data.train, 16).inputs)
    return bool((outputs.logsumexp(1).abs() < 1e-3).all())


class LossAtChanceCheck(Spec):
    """Before training, the loss is that of a uniform guess: ln C for cross-entropy."""

    kind: Literal["loss_at_chance"] = "loss_at_chance"
    warn: PositiveFloat = Field(0.25, description="distance from chance, over chance, that warns")
    fail: PositiveFloat = Field(4.0, description="distance from chance, over chance, that fails")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Measure the initial loss on a few hundred examples and compare it with chance."""
        batch = bench.sample(bench.data.train, 256)
        measured = bench.start_loss()
        with torch.no_grad():
            zero_logits = torch.zeros(len(batch.targets), bench.num_classes, device=bench.device)
            chance = bench.chance
            if chance is None:
                chance = float(bench.make_loss()(zero_logits, batch.targets))
        distance = abs(measured - chance) / abs(chance) if chance else abs(measured)
        # Asked this way round because NaN is far from everything.
        verdict = Verdict.PASS if distance <= self.warn else Verdict.WARN
        verdict = verdict if distance <= self.fail else Verdict.FAIL
        cause, confidence, advice = None, 0.0, ""
        if verdict is not Verdict.PASS and measured > chance:
            scale = _scaled_inputs_help(bench, measured, chance)
            cause = Cause.INPUT_UNSCALED if scale else Cause.INIT_TOO_LARGE
            confidence = 0.9 if verdict is Verdict.FAIL else 0.5
            advice = (
                "The model is sure of its wrong guesses before it has seen anything: scale the "
                "inputs to about 1, the weights by their fan-in (init: kaiming_normal), and the "
                "last layer's down (init.output_gain)."
            )
        elif verdict is not Verdict.PASS:
            advice = "The loss doesn't start at chance: look whether the labels reach the model."
        is_log = math.isclose(chance, bench.data.outputs.chance_loss)
        yield Finding(
            check="loss_at_init",
            verdict=verdict,
            measured=f"{measured:.5g}",
            expected=f"{chance:.5g}" + (f" (ln {bench.num_classes})" if is_log else ""),
            cause=cause,
            confidence=confidence,
            advice=advice,
            source=SOURCE,
        )


@torch.no_grad()
def _scaled_inputs_help(bench: Bench, measured: float, chance: float) -> bool:
    """Whether inputs of size 1 bring the initial loss most of the way to chance."""
    batch = bench.sample(bench.data.train, 256)
    size = batch.inputs.square().mean().sqrt()
    if not size > 5:
        return False
    scaled = batch._replace(inputs=batch.inputs / size)
    return float(bench.loss_of(bench.make_model().train(), scaled)) - chance < 0.3 * (
        measured - chance
    )
