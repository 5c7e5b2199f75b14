"""The verdict on tasks that pull at what they share with different force, from made-up records."""

from __future__ import annotations

import pytest
import torch

from nnrecipe.checks.history import Conditions, Trained
from nnrecipe.checks.history.tasks import judge_tasks
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.shapes import Head, OutputSpec
from nnrecipe.data.outputs import side_by_side, together
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.monitors import Reading
from nnrecipe.training.scores import ClassScore, TaskScores

HEADS = side_by_side([Head("kind", OutputSpec(2)), Head("group", OutputSpec(2))])


def record(
    epoch: int,
    norms: tuple[float, float],
    right: tuple[int, int],
    losses: tuple[float, float] = (1.0, 1.0),
) -> EpochRecord:
    steps = range((epoch - 1) * 100, epoch * 100, 25)
    gradient, loss = (dict(zip(("kind", "group"), of, strict=True)) for of in (norms, losses))
    figures = {
        "task_gradient": gradient,
        "task_loss": loss,
        "task_weight": dict.fromkeys(loss, 1.0),
    }
    scores = {
        name: ClassScore(
            2, torch.tensor([count // 2, 50 - count // 2, 50 - count // 2, count // 2])
        )
        for name, count in zip(gradient, right, strict=True)
    }
    return EpochRecord(
        epoch=epoch,
        step=epoch * 100,
        train_loss=1.0,
        train_accuracy=None,
        penalty=0.0,
        validation=Evaluation(1.0, 100, TaskScores(dict(scores), HEADS)),
        rate_factor=1.0,
        seconds=1.0,
        diverged_at=None,
        monitored={step: Reading(1.0, 0.1, **figures) for step in steps},
    )


def judge(*records: EpochRecord) -> tuple[Verdict, Cause | None, str]:
    trained = Trained(records, 1.0, 1.0, 0.1, together(HEADS), Conditions(epochs=len(records)))
    (found,) = judge_tasks(trained)
    return found.verdict, found.cause, found.measured


@pytest.mark.parametrize(
    ("norms", "right", "verdict"),
    [
        ((1.0, 1.0), (96, 80), Verdict.PASS),
        ((9.0, 1.0), (96, 80), Verdict.PASS),
        ((11.0, 1.0), (96, 80), Verdict.WARN),
        ((11.0, 1.0), (80, 96), Verdict.PASS),  # it has little left to learn
        ((1.0, 11.0), (50, 96), Verdict.FAIL),  # no better than a guess
    ],
)
def test_a_task_must_not_be_drowned(
    norms: tuple[float, float], right: tuple[int, int], verdict: Verdict
) -> None:
    found, cause, measured = judge(record(1, norms, right), record(2, norms, right))
    assert found is verdict
    assert cause is (None if verdict is Verdict.PASS else Cause.LOSS_MISMATCH)
    assert "pulls" in measured


def test_the_best_epoch_of_a_task_counts() -> None:
    """A figure may fall far in one epoch; that is no reason to fail."""
    epochs = record(1, (11.0, 1.0), (96, 90)), record(2, (11.0, 1.0), (96, 50))
    assert judge(*epochs)[0] is Verdict.WARN


def test_a_task_that_is_thrown_about_is_told_by_its_small_loss() -> None:
    small = record(1, (1.0, 1.0), (96, 50), losses=(2.3, 0.07))
    assert judge(small)[:2] == (Verdict.FAIL, Cause.LOSS_MISMATCH)
    learned = record(1, (1.0, 1.0), (96, 70), losses=(2.3, 0.07))
    assert judge(learned)[0] is Verdict.PASS
    alike = record(1, (1.0, 1.0), (96, 50), losses=(1.0, 1.0))
    assert judge(alike)[0] is Verdict.PASS


def test_one_task_or_too_few_samples_say_nothing() -> None:
    few = record(1, (11.0, 1.0), (96, 80))
    few.monitored.pop(50)
    trained = Trained([few], 1.0, 1.0, 0.1, together(HEADS), Conditions(epochs=1))
    assert list(judge_tasks(trained)) == []
