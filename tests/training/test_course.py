"""Which epoch is the best, and when early stopping stops."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from nnrecipe.regularization import EarlyStopping
from nnrecipe.training.course import Course
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.scores import ClassScore


def _record(epoch: int, *, loss: float, right: int) -> EpochRecord:
    score = ClassScore(2, torch.tensor([right, 100 - right, 0, 0]))
    return EpochRecord(
        epoch=epoch,
        step=epoch * 10,
        train_loss=1.0,
        train_accuracy=0.5,
        penalty=0.0,
        validation=Evaluation(loss=loss, examples=100, score=score),
        rate_factor=1.0,
        seconds=2.0,
        diverged_at=None,
        monitored={},
    )


RECORDS = [
    _record(1, loss=0.9, right=60),
    _record(2, loss=0.5, right=80),
    _record(3, loss=0.6, right=85),
    _record(4, loss=0.7, right=85),
    _record(5, loss=0.4, right=70),
]


@pytest.mark.parametrize(("figure", "best"), [("val_accuracy", 3), ("val_loss", 5)])
def test_the_best_epoch_by_either_figure(
    figure: Literal["val_accuracy", "val_loss"], best: int
) -> None:
    course = Course(figure, None)
    for record in RECORDS:
        course.add(record)
    assert course.best is not None
    assert course.best.epoch == best
    assert course.facts()["best_epoch"] == best
    assert course.metrics()["val_loss"] == RECORDS[best - 1].validation.loss  # type: ignore[union-attr]
    assert not course.should_stop


def test_patience_counts_epochs_without_improvement() -> None:
    course = Course("val_accuracy", EarlyStopping(patience=2, monitor="val_loss"))
    stops = []
    for record in RECORDS:
        course.add(record)
        stops.append(course.should_stop)
    assert stops == [False, False, False, True, False]


def test_small_improvements_do_not_count() -> None:
    course = Course("val_accuracy", EarlyStopping(patience=1, min_delta=0.5, monitor="val_loss"))
    course.add(RECORDS[0])
    course.add(RECORDS[1])
    assert course.should_stop


def test_an_epoch_that_is_not_finite_is_never_the_best() -> None:
    course = Course("val_accuracy", None)
    assert not course.add(_record(1, loss=math.nan, right=99))
    assert course.add(_record(2, loss=1.0, right=10))
    assert course.metrics()["val_accuracy"] == pytest.approx(0.1)
