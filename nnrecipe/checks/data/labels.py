"""Whether the targets are right, told by a simple classifier that learns from each split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import Agreement, agree
from nnrecipe.checks.data.alignment import misaligned
from nnrecipe.checks.data.domain import ALIKE, apart, differing
from nnrecipe.checks.data.label_maps import corrected, label_map, told
from nnrecipe.checks.data.noise import Estimate, against_val, among_sure, is_random
from nnrecipe.checks.data.readings import read
from nnrecipe.checks.data.strength import lesson
from nnrecipe.checks.data.structure import destroyed
from nnrecipe.checks.data.twins import twins
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Fraction, Spec

LEAKED, KEPT = 0.05, 0.5
"""Shares of copies in validation, and of what augmentation leaves, up to and from which training
and validation compare."""
SOURCE = "CS231n notes: baselines; Northcutt et al. 2021 (confident learning)"


class LabelsCheck(Spec):
    """The targets belong to the inputs, mean the same in both splits, and are mostly right."""

    source: ClassVar[str] = SOURCE

    kind: Literal["labels"] = "labels"
    noise: Fraction = Field(0.1, description="share of random labels that is reported")
    failing: Fraction = Field(0.25, description="share of random labels that fails")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare how well each split's targets are predicted from its own and from the other's.

        What explains the figures is told, the first of these: targets that have nothing to do with
        the inputs; other numbers for the same classes; a share of random labels.
        """
        agreement = bench.once(agree)
        if agreement is None:
            return
        finding = misaligned(bench)
        if finding is None and bench.outputs.task == "single_label":
            finding = _renamed(bench, agreement) or self._noisy(bench, agreement)
        yield finding or Finding(
            check="label_agreement",
            verdict=Verdict.PASS,
            measured=agreement.told,
            expected="training examples are guessed by the others as well as validation's",
            source=SOURCE,
        )

    def _noisy(self, bench: Bench, agreement: Agreement) -> Finding | None:
        """Training's labels against validation's; or against what sure guesses say, in both."""
        if _confounded(bench):
            return None
        classes = bench.outputs.size
        compared = against_val(agreement, classes=classes)
        bound = among_sure(agreement.train, classes=classes)
        certain = min(compared.at_least(2.5), bound.at_least(2))
        if certain > self.noise:
            return self._noise(compared, "", agreement, fails=certain > self.failing)
        random = is_random(agreement.train)
        if random and bound.at_least(3) > 2 * self.noise and agreement.train.informed:
            return self._noise(bound, ", and of validation's,", agreement, fails=False)
        return None

    def _noise(
        self, estimate: Estimate, where: str, agreement: Agreement, *, fails: bool
    ) -> Finding:
        share = f"about {min(estimate.share, 1):.0%} (+-{2 * estimate.error:.0%})"
        return Finding(
            check="label_agreement",
            verdict=Verdict.FAIL if fails else Verdict.WARN,
            measured=f"{share} of the training labels{where} are random: {agreement.told}",
            expected=f"below {self.noise:.0%}",
            cause=Cause.LABEL_NOISE,
            confidence=0.9 if fails else 0.65,
            advice="Look at the training examples whose label a simple classifier finds least "
            "likely, and mend what writes the labels: a network learns wrong ones by heart.",
            source=SOURCE,
        )


def _confounded(bench: Bench) -> bool:
    """Whether validation is guessed better than training for a reason other than its labels.

    It may have been copied from training, or there is noise or augmentation in training's inputs.
    """
    val = bench.once(twins).get("val")
    if (val is not None and val.share > LEAKED) or bench.once(destroyed):
        return True
    readings = bench.once(read)
    if readings.train.faulty or readings.val.faulty:
        return True
    if not readings.random and differing(bench, "val"):
        return True
    found = bench.once(lesson) if readings.random else None
    return found is not None and (found.kept < KEPT or found.drowned)


def _renamed(bench: Bench, agreement: Agreement) -> Finding | None:
    """Other class numbers in one split than in the other."""
    moved = label_map(agreement.val)
    if not moved or bench.once(apart) > ALIKE:
        return None
    after = corrected(agreement.val, moved)
    return Finding(
        check="label_agreement",
        verdict=Verdict.FAIL,
        measured=f"{told(moved, bench.data.classes)}: so mapped, a simple classifier reaches "
        f"accuracy {after:.2f} in validation, else {agreement.val.score:.2f}",
        expected="the same number for a class in both splits",
        cause=Cause.LABEL_MAP_MISMATCH,
        confidence=0.97,
        advice="Make the class numbers of both splits with one mapping (class_to_idx): look for a "
        "list of classes in another order, or labels that count from 1 in one split.",
        source=SOURCE,
    )
