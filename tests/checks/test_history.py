"""The verdicts on a training, from made-up records."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nnrecipe.checks.history import judge_history
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord, Monitored
from nnrecipe.training.scores import ClassScore, ValueScore


def _record(epoch: int, loss: float, **changes: Any) -> EpochRecord:
    val_loss, right = changes.pop("val_loss", loss), changes.pop("right", 80)
    ratio = changes.pop("ratio", 1e-3)
    steps = range((epoch - 1) * 100, epoch * 100, 25)
    monitored: dict[int, Monitored] = {
        step: {"batch_loss": loss, "update_ratio": {"w": ratio}, "gradient_norm": {"w": 1.0}}
        for step in steps
    }
    fields: dict[str, Any] = {
        "epoch": epoch,
        "step": epoch * 100,
        "train_loss": loss,
        "train_accuracy": 0.8,
        "penalty": 0.0,
        "validation": Evaluation(
            val_loss, 100, ClassScore(2, torch.tensor([right, 100 - right, 0, 0]))
        ),
        "rate_factor": 1.0,
        "seconds": 1.0,
        "diverged_at": None,
        "monitored": monitored,
    }
    return EpochRecord(**(fields | changes))


def _judge(*records: EpochRecord, start: float = 2.3) -> dict[str, Finding]:
    findings = judge_history(records, start_loss=start, chance=math.log(10), learning_rate=0.1)
    return {finding.check: finding for finding in findings}


def test_a_loss_that_falls_passes() -> None:
    found = _judge(_record(1, 1.5), _record(2, 1.0), _record(3, 0.8))
    assert set(found) == {"divergence", "learning", "update_ratio", "generalization"}
    assert {finding.verdict for finding in found.values()} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("losses", "word"), [((2.3, math.nan), "exploding"), ((1.5, math.nan), "unstable")]
)
def test_divergence_at_once_or_after_a_fall(losses: tuple[float, float], word: str) -> None:
    last = _record(2, losses[1], diverged_at=150, validation=None)
    found = _judge(_record(1, losses[0]), last)
    assert list(found) == ["divergence"]
    assert found["divergence"].verdict is Verdict.FAIL
    assert found["divergence"].cause is Cause.LR_TOO_HIGH
    assert found["divergence"].measured.startswith(word)
    assert "step 150" in found["divergence"].measured


@pytest.mark.parametrize(
    ("changes", "verdict", "cause"),
    [
        ({"ratio": 1e-6}, Verdict.FAIL, Cause.LR_TOO_LOW),
        ({"ratio": 1e-3}, Verdict.FAIL, Cause.UNDERFITTING),
        ({"ratio": 1e-3, "step": 30}, Verdict.WARN, Cause.UNDERTRAINED),
    ],
)
def test_a_loss_that_does_not_fall(changes: dict[str, Any], verdict: Verdict, cause: Cause) -> None:
    found = _judge(_record(1, 2.3, **changes))
    assert found["learning"].verdict is verdict
    assert found["learning"].cause is cause


def test_a_pretrained_network_need_not_fall_far() -> None:
    assert _judge(_record(1, 0.30), start=0.301)["learning"].verdict is Verdict.PASS


def test_too_few_samples_say_nothing_of_the_update_ratio() -> None:
    record = _record(1, 1.0, monitored={})
    assert "update_ratio" not in _judge(record)


def test_a_rising_validation_loss_with_a_gap_is_overfitting() -> None:
    epochs = [
        _record(1, 1.0, val_loss=1.0, right=60),
        _record(2, 0.3, val_loss=1.1, right=60),
        _record(3, 0.1, val_loss=1.5, right=60),
    ]
    finding = _judge(*epochs)["generalization"]
    assert finding.verdict is Verdict.WARN
    assert finding.cause is Cause.OVERFITTING


@pytest.mark.parametrize(("end", "verdict"), [(0.5, Verdict.WARN), (0.22, Verdict.PASS)])
def test_a_regression_overfits_by_its_losses(end: float, verdict: Verdict) -> None:
    score = ValueScore(1)
    score.add(torch.zeros(10, 1), torch.randn(10, 1))
    records = [
        _record(epoch, loss, train_accuracy=None, validation=Evaluation(val_loss, 10, score))
        for epoch, loss, val_loss in [(1, 0.5, 0.4), (2, 0.3, 0.2), (3, 0.2, end)]
    ]
    assert _judge(*records)["generalization"].verdict is verdict
