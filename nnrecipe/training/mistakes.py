"""The examples that a model is most wrong about, kept batch by batch on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from nnrecipe.core.shapes import OutputSpec


@dataclass(frozen=True)
class Mistake:
    """What a model says of the split's `example`, and what is true.

    `said` and `true` are classes (single label), 0 or 1 of the label `output`, or values of the
    target `output`. `probability` is what the model gives to what it says; of a regression, NaN.
    """

    example: int
    output: int
    said: float
    true: float
    probability: float


@dataclass
class Mistakes:
    """The `most` worst: the surest wrong classes, the surest wrong labels, the largest errors.

    Errors of a regression are compared in spreads of their target. Of several tasks they are those
    of the first. `kept` is `[K, 6]` float64: the
    size that it is sorted by, and the fields of `Mistake`. Nothing waits for the device.
    """

    outputs: OutputSpec
    most: int = 24
    seen: int = 0
    kept: Tensor | None = None
    _unit: Tensor | None = field(default=None, repr=False)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Look at the next batch: outputs `[N, C]`, targets as the task has them."""
        if self.outputs.heads:
            first = self.outputs.heads[0]
            outputs, targets = first.of_outputs(outputs), first.of_targets(targets)
        rows = self._rows(outputs.double(), targets)
        self.seen += len(targets)
        rows = rows if self.kept is None else torch.cat([self.kept, rows])
        places = rows[:, 0].topk(min(self.most, len(rows))).indices
        self.kept = rows[places]

    def worst_first(self) -> list[Mistake]:
        """Those that are mistakes at all; fewer than `most` where the model makes fewer."""
        kept = [] if self.kept is None else self.kept.tolist()
        return [
            Mistake(int(example), int(output), said, true, probability)
            for size, example, output, said, true, probability in kept
            if size > 0
        ]

    def _rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        match self._asked.task:
            case "single_label":
                size, output, said, true, probability = _classes(outputs, targets)
            case "multi_label":
                size, output, said, true, probability = _labels(outputs, targets)
            case "regression":
                unit = self._spread(outputs)
                size, output, said, true, probability = _values(outputs, targets.double(), unit)
            case "several":
                raise AssertionError("a task is one")
            case unknown:
                assert_never(unknown)
        example = torch.arange(self.seen, self.seen + len(targets), device=outputs.device)
        size = size.nan_to_num(nan=-1.0)  # sorts as the largest otherwise
        columns = (size, example, output, said, true, probability)
        return torch.stack([column.double() for column in columns], dim=1)

    @property
    def _asked(self) -> OutputSpec:
        """What is looked at: all outputs, or those of the first of several tasks."""
        return self.outputs.heads[0].outputs if self.outputs.heads else self.outputs

    def _spread(self, like: Tensor) -> Tensor:
        """[D] The targets' standard deviations, 1 where they don't vary or aren't known."""
        if self._unit is None:
            spread = torch.tensor(self._asked.target_std or (1.0,) * self._asked.size)
            self._unit = torch.where(spread > 0, spread, 1.0).to(like)
        return self._unit


Columns = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""`[N]` each: the size of the mistake (-1: there is none), output, said, true, probability."""


def _classes(logits: Tensor, targets: Tensor) -> Columns:
    probability, said = logits.softmax(1).max(1)
    size = torch.where(said == targets, -1.0, probability)
    return size, torch.zeros_like(said), said, targets, probability


def _labels(logits: Tensor, targets: Tensor) -> Columns:
    """Of each example the label that it is wrong about with the largest logit."""
    wrong = (logits > 0) != (targets > 0.5)
    size, output = torch.where(wrong, logits.abs(), -1.0).max(1)
    logit = _taken(logits, output)
    return size, output, logit > 0, _taken(targets, output), logit.abs().sigmoid()


def _values(values: Tensor, targets: Tensor, unit: Tensor) -> Columns:
    """Of each example the value that is furthest off."""
    size, output = ((values - targets).abs() / unit).max(1)
    said, true = _taken(values, output), _taken(targets, output)
    return size, output, said, true, torch.full_like(size, torch.nan)


def _taken(rows: Tensor, columns: Tensor) -> Tensor:
    """The entry of each row `[N, D]` that `columns: [N]` names."""
    return rows.gather(1, columns[:, None]).squeeze(1)
