"""Scores, counted batch by batch, against scikit-learn over the whole split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.training.scores import (
    ClassScore,
    LabelScore,
    Score,
    ValueScore,
    count_correct,
    score_of,
)


def _counted(score: Score, outputs: torch.Tensor, targets: torch.Tensor, *, size: int) -> Score:
    for part in zip(outputs.split(size), targets.split(size), strict=True):
        score.add(*part)
    return score


@pytest.mark.parametrize("size", [7, 64, 500])
def test_classes(size: int) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(200, 5), torch.randint(5, (200,))
    score = _counted(score_of(OutputSpec(5)), logits, targets, size=size)
    assert isinstance(score, ClassScore)
    said = logits.argmax(1)
    assert score.figures() == {"accuracy": pytest.approx(metrics.accuracy_score(targets, said))}
    assert score.confusion.tolist() == metrics.confusion_matrix(targets, said).tolist()
    recall = metrics.recall_score(targets, said, average=None)
    precision = metrics.precision_score(targets, said, average=None)
    np.testing.assert_allclose(score.recall, recall, rtol=1e-6)
    np.testing.assert_allclose(score.precision, precision, rtol=1e-6)
    assert count_correct(logits, targets, "single_label") == (said == targets).sum()


@pytest.mark.parametrize("size", [7, 64, 500])
def test_labels(size: int) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(200, 4), (torch.rand(200, 4) < 0.3).float()
    score = _counted(score_of(OutputSpec(4, task="multi_label")), logits, targets, size=size)
    assert isinstance(score, LabelScore)
    said = (logits > 0).float()
    assert score.figures() == {
        "accuracy": pytest.approx(1 - metrics.hamming_loss(targets, said)),
        "f1": pytest.approx(metrics.f1_score(targets, said, average="macro")),
        "exact_match": pytest.approx(metrics.accuracy_score(targets, said)),
    }
    assert score.errors.tolist() == (said != targets).sum(0).tolist()
    correct = count_correct(logits, targets, "multi_label")
    assert correct is not None
    assert correct.item() == pytest.approx(200 * (1 - metrics.hamming_loss(targets, said)))


def test_a_label_that_is_rightly_never_said_is_right() -> None:
    score = LabelScore(2)
    score.add(torch.tensor([[-1.0, 3.0], [-2.0, -4.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert score.f1.tolist() == [1, 1]
    assert score.solved


@pytest.mark.parametrize("size", [7, 64, 500])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_values(size: int, offset: float) -> None:
    torch.manual_seed(0)
    targets = offset + torch.randn(200, 3).double()
    outputs = targets + 0.3 * torch.randn(200, 3)
    score = _counted(score_of(OutputSpec(3, task="regression")), outputs, targets, size=size)
    assert isinstance(score, ValueScore)
    squared = metrics.mean_squared_error(targets, outputs, multioutput="raw_values")
    assert score.figures() == {
        "r2": pytest.approx(metrics.r2_score(targets, outputs), rel=1e-6),
        "mae": pytest.approx(metrics.mean_absolute_error(targets, outputs), rel=1e-6),
        "rmse": pytest.approx(np.sqrt(squared).mean(), rel=1e-6),
    }
    assert not score.solved
    assert count_correct(outputs, targets, "regression") is None


def test_a_regression_is_solved_when_it_explains_every_target() -> None:
    targets = torch.randn(50, 2)
    near, half = targets + 0.01 * torch.randn(50, 2), targets.clone()
    half[:, 1] = 0
    for outputs, solved in ((near, True), (half, False)):
        score = ValueScore(2)
        score.add(outputs, targets)
        assert score.solved is solved


def test_targets_that_do_not_vary_are_explained_by_themselves_alone() -> None:
    score = ValueScore(2)
    targets = torch.ones(10, 2)
    score.add(torch.stack([torch.ones(10), torch.zeros(10)], 1), targets)
    assert score.r2.tolist() == [1, 0]
