"""Whether the targets belong to the inputs that they stand beside."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import Agreement, Guesses, agree
from nnrecipe.checks.data.domain import ALIKE, apart
from nnrecipe.checks.data.kernel import is_image
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.checks.data.structure import destroyed
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.data import Split

SOURCE = "CS231n notes: look at the data; Zhang et al. 2017 (random labels)"
LEARNABLE = 0.1
"""How far above chance a score shows that a split's targets can be learnt."""
FEWEST = 100
"""Training examples from which something must be learnt if there is something to learn."""
MANY = 300
"""Training images from which it is odd that they should tell nothing about their targets."""
SHIFTS = (1, -1, 2, -2)
"""Places by which targets may have slipped against their inputs."""

Relabeled = Callable[[Tensor], Guesses]
"""The guesses about a reading's examples, had they other targets."""


def misaligned(bench: Bench) -> Finding | None:
    """Targets that their inputs tell nothing about, in a split where there is something to tell."""
    agreement, gone = bench.once(agree), bench.once(destroyed)
    assert agreement is not None
    own, within_val = agreement.train, agreement.within_val
    if not own.informed and "train" not in gone:
        return _in_train(bench, agreement)
    learnt = own.score > own.chance + LEARNABLE
    if learnt and agreement.val.at_chance and within_val.at_chance and "val" not in gone:
        return _in_val(bench, agreement)
    return None


def _in_train(bench: Bench, agreement: Agreement) -> Finding | None:
    readings, within_val = bench.once(read), agreement.within_val
    slip = _slip(agreement.relabeled, bench.data.train, readings.train)
    if slip is not None:
        return _slipped(*slip, "training")
    if not agreement.train.at_chance:
        return None
    if within_val.informed and within_val.score > within_val.chance + LEARNABLE:
        # Of few examples a little may be learnt that shows only in the many of validation.
        nothing = agreement.val.at_chance and len(readings.train) >= FEWEST
        return _unrelated("training", agreement) if nothing and _comparable(bench) else None
    if within_val.at_chance and is_image(readings.train.inputs) and len(readings.train) >= MANY:
        return Finding(
            check="label_alignment",
            verdict=Verdict.WARN,
            measured=f"a simple classifier is no better than chance: {agreement.told}",
            expected="something about the targets in the inputs",
            cause=Cause.MISALIGNED_LABELS,
            confidence=0.5,
            advice="Look at some images with their labels (plots/inputs.png): either they don't "
            "belong together, or what tells the classes apart is very fine.",
            source=SOURCE,
        )
    return None


def _in_val(bench: Bench, agreement: Agreement) -> Finding | None:
    def relabeled(targets: Tensor) -> Guesses:
        return Guesses(agreement.val.scores, targets)

    slip = _slip(relabeled, bench.data.val, bench.once(read).val)
    if slip is not None:
        return _slipped(*slip, "validation")
    return _unrelated("validation", agreement) if _comparable(bench) else None


def _comparable(bench: Bench) -> bool:
    """Whether both splits show the same kind of inputs, so that the targets must be to blame."""
    return bench.once(apart) < ALIKE and not bench.once(read).random


def _slip(relabeled: Relabeled, split: Split, reading: Reading) -> tuple[int, Guesses] | None:
    """By how many places the targets must be moved for the inputs to tell about them."""
    for places in SHIFTS:
        guesses = relabeled(split.targets[(reading.places + places) % len(split)])
        if guesses.informed and guesses.score > guesses.chance + LEARNABLE:
            return places, guesses
    return None


def _slipped(places: int, guesses: Guesses, where: str) -> Finding:
    return Finding(
        check="label_alignment",
        verdict=Verdict.FAIL,
        measured=f"in {where}, an input's target stands {places:+d} places from it: so moved, a "
        f"simple classifier reaches {guesses.told}, as they stand chance",
        expected="each input beside its own target",
        cause=Cause.MISALIGNED_LABELS,
        confidence=0.98,
        advice=f"Look at how your {where} Dataset pairs inputs with targets: one of the two lists "
        "has lost or gained an entry at its start (a header line, say).",
        source=SOURCE,
    )


def _unrelated(where: str, agreement: Agreement) -> Finding:
    return Finding(
        check="label_alignment",
        verdict=Verdict.FAIL,
        measured=f"in {where} the inputs tell nothing about their targets: {agreement.told}",
        expected="as much as in the other split",
        cause=Cause.MISALIGNED_LABELS,
        confidence=0.95,
        advice=f"Look at how your {where} Dataset pairs inputs with targets: one of the two was "
        "shuffled or sorted without the other (two listings of files, or two permutations).",
        source=SOURCE,
    )
