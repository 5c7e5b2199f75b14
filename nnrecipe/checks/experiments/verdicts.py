"""What experiments prove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnrecipe.checks.experiments.conditions import Removal, Suspect
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict

HELPS = 0.12
"""A gain in skill that is no accident: with 512 examples its standard error is about 0.03."""


@dataclass(frozen=True)
class Experiment:
    """A short training without the suspect: the skill that it reached, and what it took."""

    suspect: Suspect
    removal: Removal
    after: float
    seconds: float

    @property
    def cause(self) -> Cause:
        """What a success proves."""
        return self.removal.cause or self.suspect.cause


def judge_experiments(
    experiments: Sequence[Experiment], *, before: float, failed: bool, steps: int
) -> Iterator[Finding]:
    """One finding for each that helped, the surer the more of the best gain it brings.

    `before` is the skill of the recipe as it is. A success is a proof where something has `failed`;
    where nothing has, it is a hint.
    """
    best = max((experiment.after for experiment in experiments), default=before) - before
    for experiment in experiments:
        gain = experiment.after - before
        if gain < HELPS:
            continue
        share = gain / best
        yield Finding(
            check=f"experiment_{experiment.cause}",
            verdict=Verdict.FAIL if failed else Verdict.WARN,
            measured=f"skill {before:.2f} after {steps} steps as it is, {experiment.after:.2f} "
            f"with one change: {experiment.suspect.label}",
            expected=f"no gain of more than {HELPS:g} (0 is guessing, 1 all right)",
            cause=experiment.cause,
            confidence=round((0.55 if failed else 0.3) + 0.38 * share, 3),
            advice=experiment.suspect.advice,
            source=experiment.suspect.source,
            change=experiment.removal.change,
        )
