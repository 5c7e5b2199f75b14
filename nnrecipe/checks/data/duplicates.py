"""Examples that are in two splits, and such that are there twice with different targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.kernel import is_image
from nnrecipe.checks.data.readings import read
from nnrecipe.checks.data.twins import LOOKED_UP, Twins, twins
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Fraction, Spec

SOURCE = "Barz and Denzler 2020 (near-duplicates in CIFAR); Kapoor and Narayanan 2023 (leakage)"
FEWEST = 5
"""Twins that are no accident."""
FAILS = 0.1
"""The share of exact duplicates that fails."""


class DuplicatesCheck(Spec):
    """What is validated and tested on has not been trained on, and twins have the same class."""

    source: ClassVar[str] = SOURCE

    kind: Literal["duplicates"] = "duplicates"
    leaked: Fraction = Field(
        0.03, description="share of a split's examples that are in training, which is reported"
    )
    conflicting: Fraction = Field(
        0.02, description="share of the examples with a twin of another class that is reported"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Look for each example's twin among the training examples.

        Images that hardly differ count as the same. Rows of a table do if all numbers are equal,
        and as they may be so by chance, only by how much that is more frequent than in training.
        """
        found = bench.once(twins)
        if not found:
            yield _none("not looked for: the training examples are the same, or never the same")
            return
        images = is_image(bench.once(read).train.inputs)
        own = found["train"]
        others = {name: other for name, other in found.items() if name != "train"}
        for name, other in others.items():
            yield self._leak(name, other, own, images=images)
        if bench.outputs.task == "single_label":
            yield self._conflict(found, images=images)

    def _leak(self, name: str, other: Twins, own: Twins, *, images: bool) -> Finding:
        by_chance = 0.0 if images else own.share + 5 * math.sqrt(own.share / LOOKED_UP)
        share = other.share - by_chance
        leaks = share >= self.leaked and other.found >= FEWEST
        fails = leaks and other.exact - own.exact >= FAILS
        return Finding(
            check=f"leak_{name}",
            verdict=Verdict.FAIL if fails else Verdict.WARN if leaks else Verdict.PASS,
            measured=f"{other.share:.1%} of the examples are in training too, {other.exact:.1%} "
            f"exactly; {own.share:.1%} of training's are there twice",
            expected=f"below {self.leaked:.0%}",
            cause=Cause.LEAKAGE if leaks else None,
            confidence=0.95 if fails else 0.8 if share >= FAILS else 0.6 if leaks else 0.0,
            advice=f"Remove from training what is in {name}, and divide by source (person, video, "
            "original image) before duplicating or augmenting: the score is of learning by heart."
            if leaks
            else "",
            source=SOURCE,
        )

    def _conflict(self, found: dict[str, Twins], *, images: bool) -> Finding:
        worst = max(found.values(), key=lambda split: split.conflicting)
        by_chance = not images and found["train"].share > 2 * worst.conflicting
        conflict = worst.conflicting >= self.conflicting and worst.found >= FEWEST and not by_chance
        return Finding(
            check="duplicates_agree",
            verdict=Verdict.WARN if conflict else Verdict.PASS,
            measured=f"{worst.conflicting:.1%} of the examples have a twin of another class",
            expected=f"below {self.conflicting:.0%}",
            cause=Cause.CLASS_OVERLAP if conflict else None,
            confidence=(0.8 if worst.conflicting > 0.05 else 0.6) if conflict else 0.0,
            advice="Look at these pairs: one of the two labels is wrong, or the classes overlap "
            "and need a rule, or several labels an example (data.task: multi_label)."
            if conflict
            else "",
            source=SOURCE,
        )


def _none(measured: str) -> Finding:
    return Finding(
        check="leak_val",
        verdict=Verdict.PASS,
        measured=measured,
        expected="no example in two splits",
        source=SOURCE,
    )
