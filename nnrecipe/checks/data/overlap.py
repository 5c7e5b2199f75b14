"""Classes that can't be told from each other, though they can be told from the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import Guesses, agree
from nnrecipe.checks.data.kernel import Kernel, Ridge
from nnrecipe.checks.data.readings import read_at
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Spec

SOURCE = "lecture: look at the confusion matrix"
FEWEST, MOST = 60, 500
"""Examples of a class that are needed, and that are read, to say that it is like another."""
SUSPECT = 0.62
"""Accuracy between two classes up to which they are looked at more closely."""
BY_FAR = 0.25
"""Of how far other pairs are above 0.5, a coin: so much a pair must not be, but for 2.5 % of
chance."""
SEPARABLE = 0.75
"""Accuracy between two classes that shows that this kind of class can be told apart."""


class OverlapCheck(Spec):
    """No two classes look the same."""

    source: ClassVar[str] = SOURCE

    kind: Literal["overlap"] = "overlap"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Learn two classes at a time, those again that seem alike, from more examples of them."""
        agreement = bench.once(agree)
        if bench.outputs.task != "single_label" or agreement is None or bench.outputs.size < 3:
            return
        accuracy, counts = _pairwise(agreement.train)
        known = accuracy[counts.minimum(counts.T) >= FEWEST]
        alike = []
        usual = float(known.nanmedian()) if len(known) else 0.5
        if usual > SEPARABLE:
            suspects = (accuracy < SUSPECT) & (counts.minimum(counts.T) >= FEWEST)
            pairs = [(a, b) for a, b in suspects.nonzero().tolist() if a < b]
            alike = [pair for pair in pairs[:10] if _same(bench, *pair, usual=usual)]
        names = bench.data.classes
        listed = ", ".join(f"{names[a]} and {names[b]}" for a, b in alike)
        least = float(known.nan_to_num(1.0).min()) if len(known) else 1.0
        yield Finding(
            check="classes_differ",
            verdict=Verdict.WARN if alike else Verdict.PASS,
            measured=f"a simple classifier takes {listed} for each other as often as not"
            if alike
            else f"two classes are told apart in {least:.0%} of the cases or more",
            expected="two classes that differ",
            cause=Cause.CLASS_OVERLAP if alike else None,
            confidence=0.75 if alike else 0.0,
            advice=f"Look at examples of {listed}: if you can't tell which is which, merge the "
            "classes, or mend what gives these labels. Else what tells them apart is very fine."
            if alike
            else "",
            source=SOURCE,
        )


def _pairwise(guesses: Guesses) -> tuple[Tensor, Tensor]:
    """`[C, C]`: how often, of the examples of two classes, the right one of the two is likelier.

    The mean of both classes, so that their numbers don't count; NaN on the diagonal. And `[C, 1]`
    how many examples a class has.
    """
    size = guesses.scores.shape[1]
    own = guesses.scores.gather(1, guesses.targets.unsqueeze(1))
    wins = (own > guesses.scores).float()
    counts = guesses.targets.bincount(minlength=size).unsqueeze(1)
    sums = torch.zeros(size, size).index_add_(0, guesses.targets, wins)
    rates = sums / counts.clamp_min(1)
    accuracy = (rates + rates.T) / 2
    return accuracy.fill_diagonal_(torch.nan), counts


def _same(bench: Bench, first: int, second: int, *, usual: float) -> bool:
    """Whether two classes surely can't be told apart, learning from as many examples of each.

    `usual` is how often the right one of two is found in other pairs.
    """
    targets = bench.data.train.targets
    places = [(targets == label).nonzero().flatten()[:MOST] for label in (first, second)]
    count = min(len(some) for some in places)
    draws = generator(bench.seed, "pair")
    chosen = torch.cat([some[:count] for some in places])
    reading = read_at(bench, bench.data.train, chosen[torch.randperm(2 * count, generator=draws)])
    kernel = Kernel(reading.inputs, seed=bench.seed)
    view = kernel.view(reading.inputs)
    sides = (reading.targets == second).float().unsqueeze(1)
    right = (Ridge(kernel(view, view)).left_out(sides) > 0.5) == (sides > 0.5)
    rate = float(right.float().mean())
    return rate + 2 * math.sqrt(0.25 / len(reading)) < 0.5 + BY_FAR * (usual - 0.5)
