"""Whether augmented training examples still show their class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import FEWEST, Guesses, agree, coded
from nnrecipe.checks.data.kernel import Kernel, Ridge
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Fraction, Spec

SOURCE = "lecture: data augmentation; Gontijo-Lopes et al. 2021 (affinity)"
LEARNABLE = 0.15
"""How far above chance the score on unchanged examples must be for anything to be lost."""
ENOUGH = 300
"""Validation examples from which training's aren't needed."""
DROWNED = 2.0
"""Spread of the augmented examples over that of unchanged ones, from which noise outweighs them."""


@dataclass(frozen=True)
class Lesson:
    """What unaugmented and augmented examples teach about themselves and each other.

    `clean` are guesses about unaugmented examples by other such, `augmented` about augmented ones
    by other such, `carried` about unaugmented ones by the augmented. `spread` is that of the
    augmented examples' values over that of the others'.
    """

    clean: Guesses
    augmented: Guesses
    carried: Guesses
    spread: float

    @property
    def kept(self) -> float:
        """The share of what can be learnt that is still learnt, of either kind the larger."""
        best = max(self.augmented.score, self.carried.score)
        return (best - self.clean.chance) / (self.clean.score - self.clean.chance)

    @property
    def drowned(self) -> bool:
        """Whether noise outweighs what the examples show, and costs a part of it."""
        return self.spread > DROWNED and self.augmented.score < self.clean.score - 0.1


class AugmentationCheck(Spec):
    """Augmented training examples still show what they show."""

    source: ClassVar[str] = SOURCE

    kind: Literal["augmentation"] = "augmentation"
    kept: Fraction = Field(
        0.35, description="share of what unaugmented examples teach, below which it is too little"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Let a simple classifier learn from augmented and from unaugmented examples."""
        readings = bench.once(read)
        found = bench.once(lesson)
        if found is None:
            told = "too little to learn" if readings.augments else "no random augmentation"
            yield self._sound(told)
            return
        told = (
            f"augmented examples teach {found.augmented.told} about themselves and "
            f"{found.carried.score:.2f} about others, unaugmented ones {found.clean.score:.2f}"
        )
        if found.kept < self.kept:
            fails = found.kept < 0.75 * self.kept
            yield self._too_strong(told, fails=fails, confidence=0.92 if fails else 0.6)
        elif found.drowned:
            told += f", and their values are {found.spread:.1f} times as spread"
            yield self._too_strong(told, fails=False, confidence=0.75)
        else:
            yield self._sound(told)

    def _sound(self, told: str) -> Finding:
        return Finding(
            check="augmentation_strength",
            verdict=Verdict.PASS,
            measured=told,
            expected="augmented examples that show their class",
            source=SOURCE,
        )

    def _too_strong(self, told: str, *, fails: bool, confidence: float) -> Finding:
        return Finding(
            check="augmentation_strength",
            verdict=Verdict.FAIL if fails else Verdict.WARN,
            measured=told,
            expected=f"at least {self.kept:.0%} of what unaugmented examples teach above chance",
            cause=Cause.AUGMENTATION_TOO_STRONG,
            confidence=confidence,
            advice="Look at a training batch (plots/inputs.png): you should know the classes at a "
            "glance. Weaken data.augment, or the random transforms of your training Dataset: "
            "what they leave is too little to learn from.",
            source=SOURCE,
        )


def _clean(bench: Bench) -> Reading:
    """Unaugmented examples: of validation, so that none is among the augmented ones as well.

    Where those are few, of training, if it can be read unaugmented.
    """
    readings = bench.once(read)
    few = len(readings.val) < ENOUGH and not readings.random
    return readings.train.first(len(readings.augmented)) if few else readings.val


def lesson(bench: Bench) -> Lesson | None:
    """None without random augmentation, or where there is too little to learn from examples."""
    if not bench.once(read).augments or bench.once(agree) is None:
        return None
    clean, size = _clean(bench), bench.outputs.size
    augmented = bench.once(read).augmented
    if min(len(clean), len(augmented)) < 2 * FEWEST:
        return None
    kernel = Kernel(clean.inputs, seed=bench.seed)
    views = kernel.view(clean.inputs), kernel.view(augmented.inputs)
    codes = coded(clean.targets, size), coded(augmented.targets, size)
    learnt = Guesses(Ridge(kernel(views[0], views[0])).left_out(codes[0]), clean.targets)
    if learnt.score < learnt.chance + LEARNABLE:
        return None
    ridge = Ridge(kernel(views[1], views[1]))
    return Lesson(
        clean=learnt,
        augmented=Guesses(ridge.left_out(codes[1]), augmented.targets),
        carried=Guesses(ridge.predict(kernel(views[0], views[1]), codes[1]), clean.targets),
        spread=_spread(augmented) / max(_spread(clean), 1e-12),
    )


def _spread(reading: Reading) -> float:
    return float(reading.inputs.nan_to_num().std())
