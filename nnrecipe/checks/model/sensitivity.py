"""The check that the outputs depend on the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import (
    differ,
    examined,
    few,
    learn_a_little,
    other_inputs,
    outputs_of,
    redrawn,
)
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.spec import Spec
from nnrecipe.data.batch import Batch
from nnrecipe.layers.interventions import DropoutOff, without_dropout

SOURCE = "lecture: sanity check, overfit a tiny subset"
SCALES = (1.0, 4.0) * 8
"""Of the weights, in turn: with larger ones a signal gets through many saturating layers.

So many, because a layer of a single ReLU is shut in every second draw.
"""
FAINT = 1e-6
"""Of the outputs' size: float32 can't tell less."""
IGNORED = (
    "Other inputs give the very same outputs, whatever the weights: look where forward uses its "
    "argument (a factor of 0, a tensor that is overwritten, zeros_like in its place)."
)


class InputSensitivityCheck(Spec):
    """Other inputs give other outputs, if not at once, then after a few steps."""

    source: ClassVar[str] = SOURCE

    kind: Literal["input_sensitivity"] = "input_sensitivity"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare outputs, first with redrawn weights and then with the initial ones."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        batch = few(bench)
        measured, verdict, cause, advice = "other inputs, other outputs", Verdict.PASS, None, ""
        blind = starts_blind(bench, batch)
        if blind and not sees_with_any_weights(bench, batch):
            measured = "other inputs give the same outputs, whatever the weights"
            verdict, cause, advice = Verdict.FAIL, Cause.INPUT_IGNORED, IGNORED
        elif blind:
            # a last layer of zeros lets nothing through, but opens in one step
            if is_blind(learn_a_little(bench, bench.make_model(), batch, steps=4), batch):
                cause, advice = why_blind(bench.make_model(), batch)
                if cause is Cause.UNDERFITTING:  # many layers, say: how signals fare says more
                    cause, advice = None, ""
                verdict = Verdict.FAIL if cause else Verdict.PASS
                measured = "with the initial weights, and after a few steps, all inputs are alike"
            else:
                measured = "other inputs, other outputs after the first steps"
        yield Finding(
            check=self.kind,
            verdict=verdict,
            measured=measured,
            expected="outputs that depend on the inputs",
            cause=cause,
            confidence=0.95 if cause is Cause.INPUT_IGNORED else 0.9 if cause else 0.0,
            advice=advice,
            source=SOURCE,
        )


def starts_blind(bench: Bench, batch: Batch) -> bool:
    """Whether the initial model gives the same outputs for other inputs.

    It is asked in training mode, where norms know the batch's statistics and need no past.
    """
    return is_blind(without_dropout(bench.make_model().train()), batch)


def sees_with_any_weights(bench: Bench, batch: Batch) -> bool:
    """Whether there are weights with which the outputs depend on the inputs."""
    return not all(is_blind(redrawn(bench, draw=d, scale=s), batch) for d, s in enumerate(SCALES))


def is_blind(model: nn.Module, batch: Batch) -> bool:
    """Whether a model, in its mode, gives the same outputs for other inputs, beyond rounding.

    Other inputs are other examples. Where these are all the same, they are made up.
    """
    half = len(batch.inputs) // 2
    first, second = batch.inputs[:half], batch.inputs[half : 2 * half]
    others = [second] if half and not torch.equal(first, second) else other_inputs(first)
    with DropoutOff():
        own = outputs_of(model, first)
        made = (outputs_of(model, inputs) for inputs in others)
        return not any(differ(own, outputs, tolerance=FAINT) for outputs in made)


def why_blind(model: nn.Module, batch: Batch) -> tuple[Cause, str]:
    """Why a model that could see its inputs doesn't: its weights, or units that never fire."""
    weights = list(weights_of(model).values())
    if all(not bool(weight.any()) for weight in weights):
        return Cause.ZERO_INIT, (
            "All weights start at zero, so all units are alike and no gradient passes: draw them, "
            "by init: kaiming_normal say."
        )
    if any(not bool(weight.any()) for weight in weights[:-1]):
        return Cause.ZERO_INIT, (
            "A layer's weights start at zero and nothing gets past it, neither signal nor "
            "gradient: draw them, by init: kaiming_normal say."
        )
    if _has_silent_layer(model, batch):
        return Cause.DEAD_RELU, (
            "A layer of ReLUs gives zero for every example, so no gradient passes it: start the "
            "biases at zero and the weights by init: kaiming_normal."
        )
    if all(_gain(weight) < 0.1 for weight in weights):
        return Cause.INIT_TOO_SMALL, (
            "The weights are so small that the signal is lost in rounding before it reaches the "
            "outputs: scale them by their fan-in (init: kaiming_normal)."
        )
    return Cause.UNDERFITTING, "No input reaches the outputs of the initial model: look at it."


def _gain(weight: Tensor) -> float:
    """By what factor a weight changes a signal's size: rms * sqrt(fan_in), 1.4 for He's."""
    return float(weight.detach().square().mean().sqrt()) * math.sqrt(weight[0].numel())


def _has_silent_layer(model: nn.Module, batch: Batch) -> bool:
    """Whether the inputs of some weight layer beyond the first are zero for every example.

    What gives them may be a module, or a function that forward calls.
    """
    silent: list[bool] = []
    heard: list[bool] = []

    def listen(_module: nn.Module, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            (heard if not heard else silent).append(not bool(args[0].any()))

    layers = (nn.Linear, nn.modules.conv._ConvNd)
    watched = [module for module in model.modules() if isinstance(module, layers)]
    hooks = [module.register_forward_pre_hook(listen) for module in watched]
    try:
        outputs_of(model, batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return any(silent)
