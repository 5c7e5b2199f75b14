"""Verdicts on a training that has run: what its course, its steps and its layers show."""

from __future__ import annotations

from collections.abc import Iterator

from nnrecipe.checks.history.divergence import judge_divergence
from nnrecipe.checks.history.gap import (
    judge_average,
    judge_eval_mode,
    judge_gap,
    judge_strangers,
    judge_swings,
    judge_training_gap,
)
from nnrecipe.checks.history.layers import (
    RATIO_BAND,
    judge_dead,
    judge_gradients,
    judge_ratio,
    judge_saturation,
)
from nnrecipe.checks.history.learning import (
    judge_killing,
    judge_length,
    judge_oscillation,
    judge_progress,
    may_be_undertrained,
)
from nnrecipe.checks.history.settings import judge_settings, suspect_setting
from nnrecipe.checks.history.tasks import judge_tasks
from nnrecipe.checks.history.trained import LEAST_STEPS, Conditions, Trained
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.further import Suspect

__all__ = [
    "LEAST_STEPS",
    "RATIO_BAND",
    "Conditions",
    "Trained",
    "judge_history",
    "worth_trying",
]


def worth_trying(trained: Trained) -> Suspect | None:
    """What the training may have lacked, if an experiment should tell; None if there is nothing."""
    if trained.last.diverged_at is not None or trained.last.validation is None:
        return None
    suspect = suspect_setting(trained)
    if suspect is None and may_be_undertrained(trained):
        return Suspect.LENGTH
    return suspect


def judge_history(trained: Trained) -> Iterator[Finding]:
    """The findings on a whole training; where it diverged, that alone."""
    diverged = judge_divergence(trained)
    yield diverged
    if diverged.verdict is Verdict.FAIL:
        return
    yield judge_progress(trained)
    for judge in (
        judge_ratio,
        judge_dead,
        judge_saturation,
        judge_gradients,
        judge_killing,
        judge_oscillation,
        judge_settings,
        judge_length,
        judge_gap,
        judge_training_gap,
        judge_strangers,
        judge_eval_mode,
        judge_swings,
        judge_average,
        judge_tasks,
    ):
        yield from judge(trained)
