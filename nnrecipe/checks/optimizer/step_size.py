"""The check of what makes steps small or keeps them going: eps, clipping and momentum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from nnrecipe.checks.optimizer.base import StepCheck
from nnrecipe.checks.optimizer.probe import (
    Gradients,
    OptimizerProbe,
    data_gradients,
    norm,
)
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Fraction, PositiveFloat

STEPS = 10
USUAL_EPS = 1e-8
SLOW = 1e-3
"""The share of their size that weights usually move in a step (CS231n notes)."""
TINY = 3e-4
"""The same where momentum has gathered speed, and something holds the steps back."""


class StepSizeCheck(StepCheck):
    """Neither eps nor clipping takes away what the gradient would move, and momentum lets go."""

    source: ClassVar[str] = "CS231n notes: ratio of updates to weights"
    expects: ClassVar[str] = (
        "steps of about 0.001 of the weights' size, from gradients that decide them"
    )

    kind: Literal["step_size"] = "step_size"
    eps_factor: PositiveFloat = Field(
        10.0, description="times that eps makes a step smaller than 1e-8 would, that warns"
    )
    clip_factor: PositiveFloat = Field(
        50.0, description="times that clipping makes a step smaller, that warns"
    )
    momentum: Fraction = Field(0.99, description="momentum, or beta1, that warns")

    def _look(self, probe: OptimizerProbe) -> Iterator[Finding]:
        """Step down the data's gradient with the settings, and with usual ones in their place."""
        weights, data = probe.weights(), probe.bench.once(data_gradients)
        if not weights or not norm(weights) or not norm(data, weights):
            yield self._found("not measured: no gradient reaches the weights")
            return
        size = norm(weights)
        ratio = norm(probe.moves(data, steps=STEPS, decay=False), weights) / size / STEPS
        yield self._found(f"a step moves the weights by {ratio:.2g} of their size")
        yield from self._eps(probe, data, weights, ratio)
        yield from self._clipping(probe, data, weights)
        yield from self._momentum(probe)

    def _eps(
        self, probe: OptimizerProbe, data: Gradients, weights: Mapping[str, Tensor], ratio: float
    ) -> Iterator[Finding]:
        largest = max(float(group.get("eps") or 0.0) for group in probe.settings())
        if not largest > USUAL_EPS:
            return
        usual = norm(probe.moves(data, steps=STEPS, decay=False, adjust=_usual_eps), weights)
        factor = usual / (norm(weights) * STEPS * max(ratio, 1e-30))
        shown = f"eps {largest:g} makes a step {factor:.3g} x smaller than {USUAL_EPS:g} would"
        if factor <= self.eps_factor or ratio >= SLOW:
            yield self._found(shown, check="optimizer_eps")
            return
        yield self._found(
            f"{shown}, {ratio:.2g} of the weights' size",
            Verdict.WARN,
            Cause.ADAM_EPS,
            0.7,
            f"Set optimizer.eps: {USUAL_EPS:g}: a large one outweighs the root of the second "
            "moment by which a step is divided, and the steps shrink with the gradient.",
            check="optimizer_eps",
            change=(f"optimizer.eps={USUAL_EPS:g}",),
        )

    def _clipping(
        self, probe: OptimizerProbe, data: Gradients, weights: Mapping[str, Tensor]
    ) -> Iterator[Finding]:
        limits = probe.bench.limits
        if limits.gradient_norm is None and limits.gradient_value is None:
            return
        clipped = _clipped(data, limits.gradient_norm, limits.gradient_value)
        free = norm(probe.moves(data, steps=STEPS, decay=False), weights)
        held = norm(probe.moves(clipped, steps=STEPS, decay=False), weights)
        factor, ratio = free / max(held, 1e-30), held / norm(weights) / STEPS
        shown = (
            f"clipping makes the gradient's norm {norm(data):.3g} to {norm(clipped):.3g}, and a "
            f"step {factor:.3g} x smaller"
        )
        if factor <= self.clip_factor or ratio >= TINY:
            yield self._found(shown, check="clipping")
            return
        key = "clip_norm" if limits.gradient_norm is not None else "clip_value"
        usual = (
            norm(data) if key == "clip_norm" else max(float(g.abs().max()) for g in data.values())
        )
        yield self._found(
            f"{shown}, {ratio:.2g} of the weights' size",
            Verdict.WARN,
            Cause.CLIP_TOO_SMALL,
            0.75,
            f"Raise training.{key} to about {usual:.1g}, what the gradient has at the start: far "
            "below it every step is scaled down, as by a smaller learning rate.",
            check="clipping",
            change=(f"training.{key}={usual:.1g}",),
        )

    def _momentum(self, probe: OptimizerProbe) -> Iterator[Finding]:
        groups = probe.settings()
        largest = max(float(group.get("momentum") or 0.0) for group in groups)
        betas = [tuple(group.get("betas") or (0.0,)) for group in groups]
        largest_beta = max(float(pair[0]) for pair in betas)
        heaviest = max(largest, largest_beta)
        if not heaviest >= self.momentum:
            return
        usual = "optimizer.momentum=0.9" if largest == heaviest else "optimizer.betas=[0.9, 0.999]"
        yield self._found(
            f"{heaviest:g}: a gradient acts for {1 / max(1 - heaviest, 1e-9):.0f} steps",
            Verdict.WARN,
            Cause.MOMENTUM_TOO_HIGH,
            0.5 if heaviest < 0.998 else 0.7,
            "Set the momentum to 0.9: a step of 1 / (1 - momentum) times the learning rate "
            "overshoots, and for as many steps nothing can hold it.",
            check="momentum",
            change=(usual,),
        )


def _usual_eps(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        if float(group.get("eps") or 0.0) > USUAL_EPS:
            group["eps"] = USUAL_EPS


def _clipped(gradients: Gradients, largest_norm: float | None, largest: float | None) -> Gradients:
    """The gradients as training would clip them."""
    holders = {path: torch.zeros_like(g, requires_grad=True) for path, g in gradients.items()}
    for path, holder in holders.items():
        holder.grad = gradients[path].clone()
    if largest is not None:
        clip_grad_value_(holders.values(), largest)
    if largest_norm is not None:
        clip_grad_norm_(holders.values(), largest_norm)
    return {path: holder.grad for path, holder in holders.items() if holder.grad is not None}
