"""How well the targets agree with the inputs, within a split and from one to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.kernel import Kernel, Ridge
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.core.shapes import Task

FEWEST = 30
"""Examples of a split, below which nothing is said of how they agree."""


@dataclass(frozen=True)
class Guesses:
    """Predictions for examples that were not learnt from.

    `scores: [N, D]`, and `targets`, `[N]` int64 of classes, else `[N, D]`. The `score` is the
    accuracy for classes and R2 else; `chance` what it is if inputs tell nothing about targets.
    """

    scores: Tensor
    targets: Tensor

    @property
    def labels(self) -> Tensor:
        """[N] The likeliest class."""
        return self.scores.argmax(1)

    @property
    def correct(self) -> Tensor:
        """[N] Whether the likeliest class is the target."""
        return self.labels == self.targets

    @cached_property
    def score(self) -> float:
        """Accuracy, or the share of the targets' variance that is predicted."""
        if self.targets.ndim == 1:
            return float(self.correct.float().mean())
        return 1 - float(self._squares[0].mean() / self._squares[1].mean().clamp_min(1e-12))

    @cached_property
    def chance(self) -> float:
        """The share of the largest class; 0 for R2."""
        if self.targets.ndim > 1:
            return 0.0
        return float(self.targets.bincount().max()) / len(self.targets)

    @cached_property
    def error(self) -> float:
        """The standard error of the score."""
        count = len(self.targets)
        if self.targets.ndim == 1:
            likely = min(max(self.score, self.chance, 1 / count), 1 - 1 / count)
            return math.sqrt(likely * (1 - likely) / count)
        errors, sizes = self._squares
        deviations = errors - (1 - self.score) * sizes
        return float(deviations.std() / sizes.mean().clamp_min(1e-12)) / math.sqrt(count)

    @property
    def told(self) -> str:
        """The score in words: `accuracy 0.85`."""
        return f"{'accuracy' if self.targets.ndim == 1 else 'R2'} {self.score:.2f}"

    @property
    def informed(self) -> bool:
        """Whether the inputs tell something about the targets: beyond doubt, if not much."""
        return self.score > self.chance + 0.02 + 4 * self.error

    @property
    def at_chance(self) -> bool:
        """Whether nothing speaks for the inputs telling anything about the targets.

        Few or far-flung targets leave that open.
        """
        return self.error < 0.06 and self.score < self.chance + 0.02 + 2.5 * self.error

    def better_than(self, other: Guesses) -> tuple[float, float]:
        """By how much this score is above another about the same targets; the standard error."""
        if self.targets.ndim == 1:
            gained = self.correct.float() - other.correct.float()
            return float(gained.mean()), float(gained.std()) / math.sqrt(len(gained))
        return self.score - other.score, math.hypot(self.error, other.error)

    @property
    def _squares(self) -> tuple[Tensor, Tensor]:
        """[N] The squared errors and the squared deviations from the mean of each example."""
        deviations = self.targets - self.targets.mean(0)
        return (self.targets - self.scores).square().mean(1), deviations.square().mean(1)


@dataclass(frozen=True)
class Agreement:
    """What a simple classifier finds, learning from one split and asked about another.

    `train` and `val` are the guesses about the validation and training examples by the training
    examples (about each by the others); `within_val` are those of validation about itself, and
    `train_by_val` those about the training examples. `simple` are the guesses about validation from
    the pixels alone. `within` and `between` are the kernels `[N, N]` of the training examples and
    `[M, N]` of validation's with them, and `codes: [N, D]` what is regressed on.
    """

    within: Tensor
    between: Tensor
    codes: Tensor
    ridge: Ridge
    train: Guesses
    val: Guesses
    within_val: Guesses
    train_by_val: Guesses
    simple: Guesses

    @property
    def told(self) -> str:
        """The figures in words."""
        return (
            f"{self.train.told} in training, {self.val.score:.2f} in validation, "
            f"{self.within_val.score:.2f} learning from validation itself, "
            f"chance {self.val.chance:.2f}"
        )

    def relabeled(self, targets: Tensor) -> Guesses:
        """The guesses about the training examples, had they these targets."""
        return Guesses(self.ridge.left_out(coded(targets, self.codes.shape[1])), targets)

    def learnt_from(self, places: Tensor) -> Guesses:
        """The guesses about validation by some of the training examples."""
        ridge = Ridge(self.within[places][:, places])
        scores = ridge.predict(self.between[:, places], self.codes[places])
        return Guesses(scores, self.val.targets)


def agree(bench: Bench) -> Agreement | None:
    """Learn from training and validation examples; None where there are too few of them."""
    readings, size = bench.once(read), bench.outputs.size
    train, val = readings.train, readings.val
    if min(len(train), len(val)) < FEWEST or train.constant or val.constant:
        return None
    if bench.outputs.task == "single_label" and not _in_range(train, val, size=size):
        return None
    kernel = Kernel(train.inputs, seed=bench.seed)
    views = kernel.view(train.inputs), kernel.view(val.inputs)
    codes = [_codes(reading, train, size, bench.outputs.task) for reading in (train, val)]
    targets = [
        reading.targets if reading.targets.ndim == 1 else code
        for reading, code in zip((train, val), codes, strict=True)
    ]
    pixels = [kernel.of_pixels(views[i], views[0]) for i in (0, 1)]
    within, between = (kernel.combined(pixels[i], views[i], views[0]) for i in (0, 1))
    ridge, bare, own = Ridge(within), Ridge(pixels[0]), Ridge(kernel(views[1], views[1]))
    return Agreement(
        within=within,
        between=between,
        codes=codes[0],
        ridge=ridge,
        train=Guesses(ridge.left_out(codes[0]), targets[0]),
        val=Guesses(ridge.predict(between, codes[0]), targets[1]),
        within_val=Guesses(own.left_out(codes[1]), targets[1]),
        train_by_val=Guesses(own.predict(between.T, codes[1]), targets[0]),
        simple=Guesses(bare.predict(pixels[1], codes[0]), targets[1]),
    )


def coded(targets: Tensor, size: int) -> Tensor:
    """Classes `[N]` as rows `[N, C]` of 0 and 1; other targets as they are."""
    return F.one_hot(targets, size).float() if targets.ndim == 1 else targets


def _codes(reading: Reading, train: Reading, size: int, task: Task) -> Tensor:
    """Targets as they are regressed on; numbers in the training split's spreads."""
    if task != "regression":
        return coded(reading.targets, size)
    center, spread = train.targets.mean(0), train.targets.std(0)
    return (reading.targets - center) / spread.clamp_min(1e-12)


def _in_range(*readings: Reading, size: int) -> bool:
    """Whether all labels are those of classes that there are."""
    return all(0 <= int(r.targets.min()) <= int(r.targets.max()) < size for r in readings)
