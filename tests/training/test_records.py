"""Epochs come back from their file bit by bit, or not at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.monitors import Reading
from nnrecipe.training.origin import Origin, Place
from nnrecipe.training.records import append_record, take_records
from nnrecipe.training.scores import ClassScore, LabelScore, Score, ValueScore


def record(epoch: int, *, score: Score | None = None, **changes: Any) -> EpochRecord:
    """An epoch of figures that text would round."""
    made = EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        train_loss=0.1 + 0.2,
        train_accuracy=1 / 3,
        penalty=math.pi,
        validation=None if score is None else Evaluation(2 / 7, 20, score),
        rate_factor=0.7,
        seconds=1.5,
        diverged_at=None,
        monitored={4: Reading(0.3, 1e-3, update_ratio={"fc.weight": math.nan, "b": 1 / 9})},
        losses=(0.1, math.inf, 1 / 3),
    )
    return replace(made, **changes)


def scores() -> list[Score]:
    """One of each task, with something counted."""
    draw = torch.Generator().manual_seed(0)
    outputs, classes = torch.randn(20, 3, generator=draw), torch.arange(20) % 3
    made: list[Score] = [ClassScore(3), LabelScore(3), ValueScore(3)]
    for score, targets in zip(made, (classes, (outputs > 0.3).float(), outputs + 0.1), strict=True):
        score.add(outputs, targets)
    return made


@pytest.mark.parametrize("score", scores(), ids=lambda score: type(score).__name__)
def test_comes_back(score: Score, tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    told = record(1, score=score)
    append_record(path, told)
    (heard,) = take_records(path, 1) or []
    assert repr(replace(heard, validation=None)) == repr(replace(told, validation=None))
    assert heard.validation is not None
    assert heard.figures() == told.figures()
    for name, value in vars(score).items():
        found = vars(heard.validation.score)[name]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_what_broke_a_training_comes_back(tmp_path: Path) -> None:
    origin = Origin(3, Place.GRADIENT, "fc1", 2.5, "sqrt", "net.py:3: x.sqrt()")
    told = record(1, diverged_at=3, origin=origin)
    append_record(tmp_path / "e", told)
    (heard,) = take_records(tmp_path / "e", 1) or []
    assert heard.origin == origin
    assert heard.diverged_at == 3


def test_later_and_torn_lines_go(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    for epoch in (1, 2, 3):
        append_record(path, record(epoch))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert take_records(path, 3) is None
    found = take_records(path, 2) or []
    assert [each.epoch for each in found] == [1, 2]
    append_record(path, record(3))
    assert path.read_bytes() == whole


def test_missing_lines_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    assert take_records(path, 1) is None
    append_record(path, record(2))
    assert take_records(path, 1) is None
    path.write_bytes(b"{}\n\xff\n")
    assert take_records(path, 1) is None
