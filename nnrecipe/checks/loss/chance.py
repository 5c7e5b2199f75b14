"""The check of the loss before training: at chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.form import SOURCE, judge_form
from nnrecipe.checks.loss.judgement import Judgement
from nnrecipe.checks.loss.start import Start
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat, Spec

SHARE = 1 / 3
"""A counterfactual accounts for the excess if no more than this is left of it."""
UNSCALED = 1.0
"""As far above chance over chance, what unscaled inputs alone make of the loss fails."""
HOPELESS = 100.0
"""As far above chance over chance, what depth alone makes of the loss fails."""
STEPS = 40
"""In which a training should have come half the way to targets that lie far from 0."""


class LossAtChanceCheck(Spec):
    """Before training, the loss is that of knowing nothing: ln C for cross-entropy.

    In a regression that is the loss of the targets' mean. A loss above it is held against the
    inputs or the weights if it comes down with inputs of size 1, or weights of Kaiming's size; what
    ordinary weights give passes, several times chance where the last layer's aren't small.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["loss_at_chance"] = "loss_at_chance"
    warn: PositiveFloat = Field(0.25, description="distance from chance, over chance, that warns")
    fail: PositiveFloat = Field(4.0, description="distance from chance, over chance, that fails")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Measure the initial loss on a few hundred examples and compare it with chance."""
        start = Start(bench)
        found = self._judge(start, bench)
        chance = start.chance if bench.chance is None else bench.chance
        is_log = math.isclose(chance, math.log(bench.outputs.size), rel_tol=1e-5)
        yield Finding(
            check="loss_at_init",
            verdict=found.verdict,
            measured=found.shown,
            expected=f"{chance:.5g}" + (f" (ln {bench.outputs.size})" if is_log else ""),
            cause=found.cause,
            confidence=found.confidence,
            advice=found.advice,
            source=SOURCE,
        )

    def _judge(self, start: Start, bench: Bench) -> Judgement:
        shown = f"{start.loss:.5g}"
        if not bench.once(judge_form).sound or not math.isfinite(start.chance):
            return Judgement(f"{shown}, which says little: see loss_form")
        if not start.finite_inputs:
            return Judgement(f"{shown}, of inputs that aren't finite")
        if -start.excess > self.warn:
            return _below(shown)
        if start.excess <= self.warn:
            return Judgement(shown)
        if _targets_are_far(bench):
            return _far_targets(shown, bench, start)
        return self._above(shown, start)

    def _above(self, shown: str, start: Start) -> Judgement:
        """Why the loss lies above chance: by what it takes to bring it down."""
        enough = min(max(self.warn, SHARE * start.excess), self.fail)
        unit = start.with_unit_inputs()
        if unit is not None and unit <= enough:
            return Judgement(
                f"{shown}; inputs of size 1 bring it to {start.loss_at(unit):.4g}",
                Verdict.WARN if start.excess <= UNSCALED else Verdict.FAIL,
                Cause.INPUT_UNSCALED,
                0.8 if start.excess <= UNSCALED else 0.95,
                "The inputs are so large that the untrained model is sure of its wrong guesses: "
                "bring them to mean 0 and spread 1 (data.normalize: standardize). The weights are "
                "drawn for inputs of size 1.",
            )
        tame, largest = start.with_tame_weights()
        both = tame if unit is None else start.with_both()
        if largest and min(tame, both) <= enough:
            with_unit = "" if tame <= enough else " and inputs of size 1"
            left = start.loss_at(min(tame, both))
            return Judgement(
                f"{shown}; weights of Kaiming's size{with_unit} bring it to {left:.4g}",
                Verdict.WARN if start.excess <= self.fail else Verdict.FAIL,
                Cause.INIT_TOO_LARGE,
                0.8 if start.excess <= self.fail else 0.95,
                "The weights are so large that the untrained model is sure of its wrong guesses: "
                "draw them with a spread of sqrt(2 / fan_in) (init: kaiming_normal). The largest "
                f"for its place is {largest}.",
            )
        return self._by_depth(shown, start, both)

    def _by_depth(self, shown: str, start: Start, tame: float) -> Judgement:
        """What is left where neither the weights nor the inputs are too large."""
        if tame <= self.fail:
            return Judgement(f"{shown}, as ordinary weights make it")
        if not math.isfinite(tame):
            return Judgement(
                f"{shown}, whatever the size of weights and inputs",
                Verdict.FAIL,
                Cause.NON_FINITE,
                0.8,
                "Look in forward for a root, a logarithm or a division whose argument comes to 0 "
                "or below, and for powers that overflow: keep it away from there.",
            )
        hopeless = tame > HOPELESS
        return Judgement(
            f"{shown}; with weights of Kaiming's size it is still {start.loss_at(tame):.4g}",
            Verdict.FAIL if hopeless else Verdict.WARN,
            Cause.EXPLODING_ACTIVATIONS,
            0.9 if hopeless else 0.6,
            "The activations grow from layer to layer though the weights are of the usual size: "
            "put norms between the layers (norm: batch), or scale each residual branch down so "
            "that the sum keeps its size.",
        )


def _below(shown: str) -> Judgement:
    return Judgement(
        f"{shown}, below chance",
        advice="The model knows something before training, as a pretrained one does, or one whose "
        "last bias follows the classes' shares.",
    )


def _targets_are_far(bench: Bench) -> bool:
    """Whether a regression's targets lie further from 0 than they differ from each other."""
    pairs = zip(bench.outputs.target_mean, bench.outputs.target_std, strict=True)
    return any(abs(mean) > spread or spread > 10 for mean, spread in pairs)


def _far_targets(shown: str, bench: Bench, start: Start) -> Judgement:
    """Nothing against it, unless the first steps of the training hardly get there."""
    mean, spread = bench.outputs.target_mean, bench.outputs.target_std
    advice = (
        f"The targets (mean {mean[0]:.3g}, spread {spread[0]:.3g}) lie far from 0, where "
        "an untrained model starts: set init.output_bias: target_mean and a small "
        "init.output_gain, or standardise them."
    )
    left = start.after(STEPS)
    if left is None or left < 0.5 * start.excess:
        return Judgement(f"{shown}, as the targets lie far from 0", advice=advice)
    return Judgement(
        f"{shown}, and {start.loss_at(left):.5g} after {STEPS} steps",
        Verdict.WARN,
        confidence=0.5,
        advice=advice,
    )
