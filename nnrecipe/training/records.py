"""The epochs of a training as lines of a file, so that another process can go on after them."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.monitors import Reading
from nnrecipe.training.origin import Origin, Place
from nnrecipe.training.scores import (
    ClassScore,
    LabelScore,
    OneScore,
    Score,
    TaskScores,
    ValueScore,
)

RECORDS_FILE = "epochs.jsonl"
_SCORES: dict[str, type[OneScore]] = {
    score.__name__: score for score in (ClassScore, LabelScore, ValueScore)
}


def append_record(path: Path, record: EpochRecord) -> None:
    """Add an epoch to the file; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_told(record)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def take_records(path: Path, epochs: int) -> list[EpochRecord] | None:
    """The first `epochs` of the file, and no more are left in it; None if it has fewer whole ones.

    Every figure comes back bit for bit.
    """
    lines = path.read_bytes().splitlines(keepends=True)[:epochs] if path.is_file() else []
    try:
        records = [_heard(json.loads(line)) for line in lines]
    except (ValueError, LookupError, TypeError, zlib.error):
        return None
    if [record.epoch for record in records] != list(range(1, epochs + 1)):
        return None
    os.truncate(path, sum(map(len, lines)))
    return records


def _told(record: EpochRecord) -> dict[str, Any]:
    """The record in JSON's types."""
    told = {item.name: getattr(record, item.name) for item in fields(record)}
    told["monitored"] = {step: vars(reading) for step, reading in record.monitored.items()}
    told["origin"] = None if record.origin is None else vars(record.origin)
    if record.validation is not None:
        told["validation"] = {
            "loss": record.validation.loss,
            "examples": record.validation.examples,
            "losses": record.validation.losses,
            **_told_score(record.validation.score),
        }
    return told


def _heard(told: dict[str, Any]) -> EpochRecord:
    made = dict(told)
    made["losses"] = tuple(told["losses"])
    made["monitored"] = {int(step): Reading(**of) for step, of in told["monitored"].items()}
    if (origin := told["origin"]) is not None:
        made["origin"] = Origin(**{**origin, "place": Place(origin["place"])})
    if (validation := told["validation"]) is not None:
        made["validation"] = Evaluation(
            validation["loss"],
            validation["examples"],
            _heard_score(validation),
            validation["losses"],
        )
    return EpochRecord(**made)


def _told_score(score: Score) -> dict[str, Any]:
    """The score with the word for its kind; of several tasks, which have one each, by name."""
    if isinstance(score, TaskScores):
        return {"tasks": {name: _told_score(own) for name, own in score.scores.items()}}
    counts = {name: _packed(value) for name, value in vars(score).items()}
    return {"task": type(score).__name__, "score": counts}


def _heard_score(told: dict[str, Any]) -> Score:
    if "tasks" in told:
        return TaskScores({name: _heard_one(own) for name, own in told["tasks"].items()})
    return _heard_one(told)


def _heard_one(told: dict[str, Any]) -> OneScore:
    counts = {name: _unpacked(value) for name, value in told["score"].items()}
    return _SCORES[told["task"]](**counts)


def _packed(value: Any) -> Any:
    """A tensor as text; a number as itself."""
    if not isinstance(value, Tensor):
        return value
    array = value.cpu().numpy()
    data = base64.b64encode(zlib.compress(array.tobytes())).decode()
    return {"shape": list(array.shape), "dtype": array.dtype.str, "data": data}


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    data = zlib.decompress(base64.b64decode(value["data"]))
    return torch.from_numpy(np.frombuffer(data, value["dtype"]).reshape(value["shape"]).copy())
