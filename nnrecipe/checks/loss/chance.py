"""The check of the loss before training: at chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.form import SOURCE
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat, Spec
from nnrecipe.data.batch import Batch


class LossAtChanceCheck(Spec):
    """Before training, the loss is that of knowing nothing: ln C for cross-entropy.

    In a regression that is the loss of the targets' mean.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["loss_at_chance"] = "loss_at_chance"
    warn: PositiveFloat = Field(0.25, description="distance from chance, over chance, that warns")
    fail: PositiveFloat = Field(4.0, description="distance from chance, over chance, that fails")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Measure the initial loss on a few hundred examples and compare it with chance."""
        batch = bench.sample(bench.data.train, 256)
        measured = bench.start_loss()
        with torch.no_grad():
            chance = bench.chance
            if chance is None:
                chance = float(bench.make_loss()(_ignorant(bench, batch), batch.targets))
        distance = abs(measured - chance) / abs(chance) if chance else abs(measured)
        # Asked this way round because NaN is far from everything.
        verdict = Verdict.PASS if distance <= self.warn else Verdict.WARN
        verdict = verdict if distance <= self.fail else Verdict.FAIL
        cause, confidence, advice = None, 0.0, ""
        off = verdict is not Verdict.PASS
        if off and measured > chance and _targets_are_far(bench):
            verdict, confidence = Verdict.WARN, 0.5
            mean, spread = bench.outputs.target_mean, bench.outputs.target_std
            advice = (
                f"The targets (mean {mean[0]:.3g}, spread {spread[0]:.3g}) lie far from 0, where "
                "an untrained model starts: set init.output_bias: target_mean and a small "
                "init.output_gain, or standardise them."
            )
        elif off and measured > chance:
            scale = _scaled_inputs_help(bench, measured, chance)
            cause = Cause.INPUT_UNSCALED if scale else Cause.INIT_TOO_LARGE
            confidence = 0.9 if verdict is Verdict.FAIL else 0.5
            advice = (
                "The model is sure of its wrong guesses before it has seen anything: scale the "
                "inputs to about 1, the weights by their fan-in (init: kaiming_normal), and the "
                "last layer's down (init.output_gain)."
            )
        elif off:
            advice = "The loss doesn't start at chance: look whether the labels reach the model."
        is_log = math.isclose(chance, math.log(bench.outputs.size))
        yield Finding(
            check="loss_at_init",
            verdict=verdict,
            measured=f"{measured:.5g}",
            expected=f"{chance:.5g}" + (f" (ln {bench.outputs.size})" if is_log else ""),
            cause=cause,
            confidence=confidence,
            advice=advice,
            source=SOURCE,
        )


def _ignorant(bench: Bench, batch: Batch) -> Tensor:
    """The outputs of knowing nothing `[N, size]`: logits of 0, or the mean of the targets."""
    zeros = torch.zeros(len(batch.targets), bench.outputs.size, device=bench.device)
    mean = bench.outputs.target_mean
    return zeros + torch.tensor(mean, device=bench.device) if mean else zeros


def _targets_are_far(bench: Bench) -> bool:
    """Whether a regression's targets lie further from 0 than they differ from each other."""
    pairs = zip(bench.outputs.target_mean, bench.outputs.target_std, strict=True)
    return any(abs(mean) > spread or spread > 10 for mean, spread in pairs)


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
