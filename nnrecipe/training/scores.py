"""How right a model's outputs are, counted batch by batch on the device; one score for a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from nnrecipe.core.shapes import Head, OutputSpec, Task

SOLVED_R2 = 0.99
"""The share of the targets' variance from which a regression counts as learned by heart."""


@dataclass
class ClassScore:
    """Single label: the confusion matrix `[C, C]`, a row a true class, a column a prediction.

    A model with more outputs than there are classes still has a place for every prediction.
    """

    classes: int
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count logits `[N, C]` against classes `[N]`."""
        side = max(self.classes, outputs.shape[1])
        pairs = torch.bincount(targets * side + outputs.argmax(1), minlength=side * side)
        self.counts = self.counts + pairs if len(self.counts) else pairs

    @property
    def confusion(self) -> Tensor:
        """[C, C] on the CPU."""
        side = int(len(self.counts) ** 0.5)
        return self.counts.cpu().view(side, side)

    @property
    def accuracy(self) -> float:
        """The share of examples whose largest logit is their class's."""
        return float(self.confusion.diagonal().sum() / self.confusion.sum())

    @property
    def recall(self) -> Tensor:
        """[C] The share of each class that is recognised; NaN for a class without examples."""
        return self.confusion.diagonal() / self.confusion.sum(1)

    @property
    def precision(self) -> Tensor:
        """[C] The share of each class's predictions that are right; NaN if there are none."""
        return self.confusion.diagonal() / self.confusion.sum(0)

    @property
    def solved(self) -> bool:
        """Whether every example is recognised."""
        return self.accuracy == 1

    def figures(self) -> dict[str, float]:
        """The accuracy."""
        return {"accuracy": self.accuracy}


@dataclass
class LabelScore:
    """Multi-label: `counts` are `[3, L]` true positives, false positives and false negatives.

    A label is predicted where its logit is above 0, a probability of one half.
    """

    labels: int
    counts: Tensor | None = None
    examples: int = 0
    exact: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count logits `[N, L]` against labels `[N, L]`, 0 or 1."""
        said, true = outputs > 0, targets > 0.5
        parts = (said & true, said & ~true, ~said & true)
        counts = torch.stack([part.sum(0) for part in parts])
        exact = (said == true).all(1).sum()
        self.counts = counts if self.counts is None else self.counts + counts
        self.exact = exact if self.exact is None else self.exact + exact
        self.examples += len(targets)

    @property
    def errors(self) -> Tensor:
        """[L] How many examples have this label wrong."""
        assert self.counts is not None, "nothing was counted"
        return self.counts[1:].sum(0).cpu()

    @property
    def f1(self) -> Tensor:
        """[L] 2 TP / (2 TP + FP + FN) of each label; 1 where there is nothing to find or to say."""
        assert self.counts is not None, "nothing was counted"
        hits, *misses = self.counts.cpu().double()
        total = 2 * hits + sum(misses)
        return torch.where(total > 0, 2 * hits / total.clamp_min(1), 1.0)

    @property
    def exact_match(self) -> float:
        """The share of examples that have all their labels right."""
        assert self.exact is not None, "nothing was counted"
        return float(self.exact) / self.examples

    @property
    def solved(self) -> bool:
        """Whether every example has all its labels right."""
        return self.exact_match == 1

    def figures(self) -> dict[str, float]:
        """Accuracy (the mean over examples and labels), F1 (the mean over labels), exact match."""
        wrong = float(self.errors.sum()) / (self.examples * self.labels)
        return {
            "accuracy": 1 - wrong,
            "f1": float(self.f1.mean()),
            "exact_match": self.exact_match,
        }


@dataclass
class ValueScore:
    """Regression: sums of errors and of the targets' spread, `[D]` each, in float64.

    The spread is summed about the first batch's mean, so that large means lose no digits.
    """

    values: int
    examples: int = 0
    sums: Tensor | None = None
    pivot: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count estimates `[N, D]` against targets `[N, D]`; further outputs (spreads) don't."""
        outputs, targets = outputs[:, : targets.shape[1]].double(), targets.double()
        if self.pivot is None:
            self.pivot = targets.mean(0)
        errors, centred = outputs - targets, targets - self.pivot
        parts = (errors.square(), errors.abs(), centred, centred.square())
        sums = torch.stack([part.sum(0) for part in parts])
        self.sums = sums if self.sums is None else self.sums + sums
        self.examples += len(targets)

    def _means(self) -> Tensor:
        assert self.sums is not None, "nothing was counted"
        return self.sums.cpu() / self.examples

    @property
    def r2(self) -> Tensor:
        """[D] 1 - squared error / variance of the target; below 0 is worse than the mean.

        Where the targets don't vary it is 1 without error, else 0.
        """
        squared, _, mean, square = self._means()
        variance = (square - mean.square()).clamp_min(0)
        flat = variance <= 1e-12 * square.clamp_min(1e-300)
        constant = (squared == 0).double()
        return torch.where(flat, constant, 1 - squared / torch.where(flat, 1.0, variance))

    @property
    def mae(self) -> Tensor:
        """[D] The mean absolute error, in the target's unit."""
        return self._means()[1]

    @property
    def rmse(self) -> Tensor:
        """[D] The root of the mean squared error, in the target's unit."""
        return self._means()[0].sqrt()

    @property
    def solved(self) -> bool:
        """Whether next to all of every target's variance is explained."""
        return bool((self.r2 > SOLVED_R2).all())

    def figures(self) -> dict[str, float]:
        """R2, mean absolute error and root of the mean squared error, each a mean over targets."""
        means = {"r2": self.r2, "mae": self.mae, "rmse": self.rmse}
        return {name: float(values.mean()) for name, values in means.items()}


OneScore = ClassScore | LabelScore | ValueScore


@dataclass
class TaskScores:
    """Several tasks: the score of each, by its name; `heads` say which outputs are whose."""

    scores: dict[str, OneScore]
    heads: tuple[Head, ...] = ()

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count all outputs `[N, size]` against all targets `[N, K]`."""
        for head in self.heads:
            self.scores[head.name].add(head.of_outputs(outputs), head.of_targets(targets))

    @property
    def headlines(self) -> dict[str, tuple[str, float]]:
        """The name and the value of each task's first figure."""
        return {name: next(iter(of.figures().items())) for name, of in self.scores.items()}

    @property
    def solved(self) -> bool:
        """Whether all tasks are."""
        return all(score.solved for score in self.scores.values())

    def figures(self) -> dict[str, float]:
        """The mean of the tasks' first figures, an R2 below 0 as 0, and then every task's own."""
        firsts = [max(value, 0.0) for _, value in self.headlines.values()]
        own = {
            f"{name}_{figure}": value
            for name, score in self.scores.items()
            for figure, value in score.figures().items()
        }
        return {"score": sum(firsts) / len(firsts), **own}


Score = OneScore | TaskScores


def score_of(outputs: OutputSpec) -> Score:
    """An empty score for the task, or for each of several."""
    if outputs.task != "several":
        return _score_of_one(outputs)
    return TaskScores({h.name: _score_of_one(h.outputs) for h in outputs.heads}, outputs.heads)


def _score_of_one(outputs: OutputSpec) -> OneScore:
    match outputs.task:
        case "single_label":
            return ClassScore(outputs.size)
        case "multi_label":
            return LabelScore(outputs.size)
        case "regression":
            return ValueScore(outputs.size)
        case "several":
            raise AssertionError("a task is one")
        case unknown:
            assert_never(unknown)


def count_correct(outputs: Tensor, targets: Tensor, task: Task) -> Tensor | None:
    """How many examples of a batch are right, a scalar on the device.

    None in a regression, and of several tasks, which are right in ways of their own.
    Of an example with several labels the share that is right counts.
    """
    if task == "single_label":
        return (outputs.argmax(1) == targets).sum()
    if task == "multi_label":
        return ((outputs > 0) == (targets > 0.5)).float().mean(1).sum()
    return None
