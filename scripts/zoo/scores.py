"""From results to scores: who notices a fault, who names its cause, who cries wolf."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from zoo.case import Case
from zoo.rules import MEANINGS, TOOLS
from zoo.trial import DIAGNOSED, TRAINED, Trial

OURS = "nnrecipe"
SIGNIFICANT = 0.05
EVERY_TOOL = (OURS, *TOOLS)


@dataclass(frozen=True)
class Answer:
    """What a tool said of one trial: its verdict, and for each thing it named whether it is right.

    A rule of another tool is a `warn`, as none of them tells a symptom from a proof.
    """

    verdict: str
    named: tuple[bool, ...]


@dataclass(frozen=True)
class Scored:
    """A trial with its answers, by tool."""

    case: Case
    seed: int
    answers: dict[str, Answer]
    said: tuple[str, ...]
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Harm:
    """How much better a control is than the fault that is seeded into it.

    `counts` says whether the fault is scored: it hurts, or needn't. With one seed there is no test,
    and it counts where the control is better at all.
    """

    difference: float
    p: float | None
    counts: bool


@dataclass(frozen=True)
class Tally:
    """The scores of one tool on some faulty trials; None where there is nothing to divide by."""

    trials: int
    detection: float | None
    top1: float | None
    top3: float | None
    precision: float | None


@dataclass(frozen=True)
class Alarms:
    """How many of the healthy trials a tool calls `fail`, `warn`, or stops at by an error."""

    trials: int
    fail: int
    warn: int
    error: int


def score(trial: Trial) -> Scored | None:
    """The trial's answers; None if it hasn't been run."""
    ours, training = trial.result(DIAGNOSED), trial.result(TRAINED)
    if ours is None or training is None:
        return None
    true = set(trial.case.causes)
    right = tuple(cause in true for cause in ours["causes"])
    answers = {OURS: Answer(ours["verdict"], right)}
    for tool, rules in training["rules"].items():
        named = tuple(bool(true & set(MEANINGS[tool][rule])) for rule in rules)
        answers[tool] = Answer("warn" if rules else "pass", named)
    accuracy = training["accuracy"]
    return Scored(
        trial.case, trial.seed, answers, tuple(ours["causes"]), float(accuracy), ours["seconds"]
    )


def harm(fault: Iterable[Scored], control: Iterable[Scored], *, must_hurt: bool) -> Harm:
    """Compare the accuracies of fault and control, seed by seed: a one-sided paired t-test."""
    sick = {row.seed: row.accuracy for row in fault}
    sound = {row.seed: row.accuracy for row in control}
    differences = [sound[seed] - sick[seed] for seed in sick if seed in sound]
    if not differences:
        return Harm(math.nan, None, not must_hurt)
    mean = sum(differences) / len(differences)
    if len(differences) < 2:
        return Harm(mean, None, mean > 0 or not must_hurt)
    if min(differences) == max(differences):
        p = 0.0 if mean > 0 else 1.0
    else:
        p = float(stats.ttest_1samp(differences, 0, alternative="greater").pvalue)
    return Harm(mean, p, p < SIGNIFICANT or not must_hurt)


def tally(rows: Sequence[Scored], tool: str) -> Tally:
    """One tool's scores on faulty trials; causes are not asked for where accuracy isn't hurt."""
    answers = [row.answers[tool] for row in rows]
    asked = [row.answers[tool] for row in rows if row.case.must_hurt]
    named = [right for answer in asked for right in answer.named]
    return Tally(
        trials=len(rows),
        detection=_share(answer.verdict in ("warn", "fail") for answer in answers),
        top1=_share(any(answer.named[:1]) for answer in asked),
        top3=_share(any(answer.named[:3]) for answer in asked),
        precision=_share(named),
    )


def alarms(rows: Sequence[Scored], tool: str) -> Alarms:
    """One tool's false alarms on healthy trials."""
    verdicts = [row.answers[tool].verdict for row in rows]
    counts = [verdicts.count(verdict) for verdict in ("fail", "warn", "error")]
    return Alarms(len(rows), *counts)


def _share(flags: Iterable[Any]) -> float | None:
    values = [bool(flag) for flag in flags]
    return sum(values) / len(values) if values else None
