"""The course of a training: its epochs so far, the best of them, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from nnrecipe.regularization import EarlyStopping
from nnrecipe.training.fit import EpochRecord

Figure = Literal["val_accuracy", "val_loss"]


@dataclass
class Course:
    """Collects the records of `fit`.

    The best epoch has the best figure; of several with the same accuracy, the lowest loss.
    """

    select_by: Figure
    stopping: EarlyStopping | None
    records: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None
    _best_score: tuple[float, float] = (-math.inf, -math.inf)
    _watched: float = -math.inf
    _waited: int = 0

    def add(self, record: EpochRecord) -> bool:
        """Take in an epoch; true if it is the best so far."""
        self.records.append(record)
        self._wait(record)
        score = (_score(record, self.select_by), _score(record, "val_loss"))
        improved = score > self._best_score
        if improved:
            self.best, self._best_score = record, score
        return improved

    @property
    def should_stop(self) -> bool:
        """Whether early stopping's patience is at its end."""
        return self.stopping is not None and self._waited >= self.stopping.patience

    def metrics(self) -> dict[str, float]:
        """The figures of the best epoch, or of the last if none was evaluated."""
        return figures(self.best or self.records[-1])

    def facts(self) -> dict[str, Any]:
        """What the report says of the training as a whole."""
        return {
            "epochs": len(self.records),
            "best_epoch": None if self.best is None else self.best.epoch,
            "steps": self.records[-1].step,
            "stopped_early": self.should_stop,
            "seconds_per_epoch": sum(r.seconds for r in self.records) / len(self.records),
            "history": [{"epoch": record.epoch, **figures(record)} for record in self.records],
        }

    def _wait(self, record: EpochRecord) -> None:
        if self.stopping is None:
            return
        score = _score(record, self.stopping.monitor)
        if score > self._watched + self.stopping.min_delta:
            self._watched, self._waited = score, 0
        else:
            self._waited += 1


def figures(record: EpochRecord) -> dict[str, float]:
    """Loss and accuracy of an epoch, by the names that `report.json` uses."""
    found = {"train_loss": record.train_loss, "train_accuracy": record.train_accuracy}
    if record.validation is not None:
        found["val_loss"] = record.validation.loss
        found["val_accuracy"] = record.validation.accuracy
    return found


def _score(record: EpochRecord, figure: Figure) -> float:
    """The figure with its sign turned so that larger is better; minus infinity if it is missing."""
    if record.validation is None or not math.isfinite(record.validation.loss):
        return -math.inf
    return record.validation.accuracy if figure == "val_accuracy" else -record.validation.loss
