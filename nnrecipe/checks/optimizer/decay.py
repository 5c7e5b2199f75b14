"""The check of what regularization does to the weights: weight decay and the penalties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.optimizer.base import StepCheck
from nnrecipe.checks.optimizer.probe import (
    Gradients,
    OptimizerProbe,
    data_gradients,
    inner,
    norm,
)
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat

FASTEST = 0.1
"""The share of the weights' size that regularization alone may take away in an epoch."""


class WeightDecayCheck(StepCheck):
    """Without a gradient weights shrink where decay is declared, and never grow.

    How hard decay and penalties pull is held against the pull of the data at the start.
    """

    source: ClassVar[str] = "lecture: regularization"
    expects: ClassVar[str] = (
        "weights that don't grow by themselves, and a pull below that of the data"
    )

    kind: Literal["weight_decay"] = "weight_decay"
    warn: PositiveFloat = Field(
        2.0, description="pull of decay and penalties, over that of the data, that warns"
    )

    def _look(self, probe: OptimizerProbe) -> Iterator[Finding]:
        """Step by no gradient at all, then by the penalties', and measure the weights."""
        weights = probe.weights()
        if weights and norm(weights):
            yield self._judge(probe, weights)

    def _judge(self, probe: OptimizerProbe, weights: Mapping[str, Tensor]) -> Finding:
        idle = probe.moves(probe.nothing())
        shrink = -inner(idle, weights) / norm(weights) ** 2
        declared = _declared(probe)
        shown = f"a step without a gradient shrinks the weights by {abs(shrink):.2g} of their size"
        if shrink < -1e-12:
            return self._found(
                shown,
                Verdict.FAIL,
                Cause.REG_SIGN,
                0.95,
                "The weights grow without any gradient, ever faster: weight decay takes away, so "
                "look for its sign in the optimizer's step; the gradient of decay is + decay * w.",
            )
        if declared and shrink < 1e-12:
            return self._found(
                f"{shown}, and weight_decay is {declared:g}",
                Verdict.WARN,
                Cause.REG_INACTIVE,
                0.8,
                "The optimizer doesn't use the weight_decay of its groups, so the weights aren't "
                "regularized: use it in the step, or set regularization.l2 instead.",
            )
        return self._strength(probe, weights, idle, shown)

    def _strength(
        self,
        probe: OptimizerProbe,
        weights: Mapping[str, Tensor],
        idle: Mapping[str, Tensor],
        shown: str,
    ) -> Finding:
        """How hard all regularization pulls on the weights, beside the data."""
        bench = probe.bench
        data, penalty = bench.once(data_gradients), _penalty_gradients(bench)
        size = norm(data, weights)
        if not size or not (norm(penalty) or norm(idle, weights)):
            return self._found(shown)
        ratio = norm(penalty) / size + _decay_ratio(probe, weights, idle, data)
        moved = inner(probe.moves(penalty), weights) / norm(weights) ** 2
        epoch = -moved * bench.data.steps_per_epoch(bench.batch_size)
        shown = f"regularization pulls on the weights {ratio:.2g} x as hard as the data; {shown}"
        if ratio <= self.warn or epoch <= FASTEST:
            return self._found(shown)
        return self._found(
            shown,
            Verdict.WARN,
            Cause.OVER_REGULARIZED,
            0.7,
            "From the first step on the weights are pulled to zero harder than the data pull them "
            "anywhere: lower optimizer.weight_decay, regularization.l2 or l1 by factors of ten.",
        )


def _declared(probe: OptimizerProbe) -> float:
    """The largest weight decay of a group."""
    return max(float(group.get("weight_decay") or 0.0) for group in probe.settings())


def _penalty_gradients(bench: Bench) -> Gradients:
    """What L1 and L2 add to the gradient: zero for all but the weights."""
    model = bench.make_model()
    trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
    penalty = bench.penalty(model)
    nothing = {path: torch.zeros_like(p) for path, p in trained.items()}
    if not penalty.requires_grad:
        return nothing
    found = torch.autograd.grad(penalty, list(trained.values()), allow_unused=True)
    pairs = zip(trained, found, strict=True)
    return nothing | {path: gradient for path, gradient in pairs if gradient is not None}


def _decay_ratio(
    probe: OptimizerProbe,
    weights: Mapping[str, Tensor],
    idle: Mapping[str, Tensor],
    data: Gradients,
) -> float:
    """The pull of weight decay over that of the data.

    Where decay shrinks all weights at one rate, as in sgd and adamw, steps are compared. Where it
    is part of a gradient that the optimizer scales, as in adam, gradients are: all steps are of one
    size there.
    """
    if _is_proportional(idle, weights):
        pushed = norm(probe.moves(data, decay=False), weights)
        return norm(idle, weights) / pushed if pushed else 0.0
    return _declared(probe) * norm(weights) / norm(data, weights)


def _is_proportional(moves: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
    """Whether each weight matrix keeps its direction, where it moves at all."""
    return all(
        abs(inner(moves, {path: weight})) >= 0.999 * norm(moves, {path: 0}) * float(weight.norm())
        for path, weight in weights.items()
    )
