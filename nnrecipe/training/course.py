"""The course of a training: its epochs so far, the best of them, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nnrecipe.regularization import EarlyStopping
from nnrecipe.training.fit import EpochRecord

SMALLER_IS_BETTER = ("loss", "mae", "rmse")


@dataclass
class Course:
    """Collects the records of `fit`.

    The best epoch has the best figure (`val_accuracy`, say); of several with the same one, the
    lowest loss.
    """

    select_by: str
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
        return (self.best or self.records[-1]).figures()

    def facts(self) -> dict[str, Any]:
        """What the report says of the training as a whole."""
        return {
            "epochs": len(self.records),
            "best_epoch": None if self.best is None else self.best.epoch,
            "steps": self.records[-1].step,
            "stopped_early": self.should_stop,
            "seconds_per_epoch": sum(r.seconds for r in self.records) / len(self.records),
            "history": [{"epoch": record.epoch, **record.figures()} for record in self.records],
        }

    def _wait(self, record: EpochRecord) -> None:
        if self.stopping is None:
            return
        score = _score(record, self.stopping.monitor)
        if score > self._watched + self.stopping.min_delta:
            self._watched, self._waited = score, 0
        else:
            self._waited += 1


def _score(record: EpochRecord, figure: str) -> float:
    """The figure with its sign turned so that larger is better; minus infinity if it is missing."""
    if record.validation is None or not math.isfinite(record.validation.loss):
        return -math.inf
    value = record.figures()[figure]
    return -value if figure.removeprefix("val_") in SMALLER_IS_BETTER else value
