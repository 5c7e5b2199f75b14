"""A training that has run: what is known of it when it is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.further import Further
from nnrecipe.training.monitors import Reading
from nnrecipe.training.setup import Limits
from nnrecipe.training.trial import skill

Figure = Callable[[Reading], dict[str, float]]

LEAST_SAMPLES = 3
"""Sampled steps that it takes to say something of layers and updates; never one alone."""
LEAST_STEPS = 100
"""Optimizer steps before a loss that doesn't fall is held against the model."""

SMALL_BATCH = 4
POOR = 0.3
"""The share of the way from guessing to all right below which a model has learned little."""


@dataclass(frozen=True)
class Conditions:
    """Under which a training ran.

    `momentum` is the optimizer's (Adam's first beta), `eps` what an adaptive one adds to its
    denominator, `dropout` the largest drop probability of a module; `augmented` and `mixed` say
    whether the training examples are changed, or mixed with each other; `averages_from` is the
    first epoch of an average over epochs. `norm_batch` is the batch size where batch norms take
    their statistics from it, else 0.
    """

    epochs: int
    momentum: float = 0.0
    eps: float = 0.0
    decays: bool = False
    dropout: float = 0.0
    augmented: bool = False
    mixed: bool = False
    limits: Limits = field(default_factory=Limits)
    norm_batch: int = 0
    averages_from: int | None = None

    @property
    def has_small_batch_norm(self) -> bool:
        """Whether batch norms see so few examples that their mean says little of the others."""
        return 1 < self.norm_batch <= SMALL_BATCH


@dataclass(frozen=True)
class Trained:
    """The records of a training, and figures beside them.

    `start_loss` is the loss before the first step, `chance` that of a uniform guess. `clean` is
    the final model's evaluation on training examples as validation sees its own: in eval mode, not
    augmented. `further` is how it went on without what it may have lacked, where this was tried.
    """

    records: Sequence[EpochRecord]
    start_loss: float
    chance: float
    learning_rate: float
    outputs: OutputSpec
    conditions: Conditions
    clean: Evaluation | None = None
    further: Further | None = None

    def facts(self) -> dict[str, Any]:
        """What the report says of the final model."""
        found: dict[str, Any] = {}
        if self.clean is not None:
            found = {f"train_{name}_clean": value for name, value in self.clean.figures().items()}
        if self.further is not None:
            name, value = self.further.ended.headline
            found |= {
                "tried_further": str(self.further.suspect),
                "further_steps": self.further.steps,
                f"val_{name}_further": value,
            }
        return found

    @property
    def last(self) -> EpochRecord:
        """The last epoch."""
        return self.records[-1]

    @cached_property
    def readings(self) -> list[tuple[int, Reading]]:
        """The sampled steps and their figures, but for the first step.

        Its gradient may be zero by design (a residual branch that starts at zero), and its rate a
        thousandth (warm-up).
        """
        sampled = [pair for record in self.records for pair in record.monitored.items()]
        return [(step, reading) for step, reading in sampled if step > 0]

    @property
    def stopped_early(self) -> bool:
        """Whether there were fewer epochs than planned."""
        return len(self.records) < self.conditions.epochs

    @property
    def largest_ratio(self) -> float:
        """The largest update/weight ratio of a sampled step, in the median over the weights."""
        steps = (
            r.update_ratio.values() for record in self.records for r in record.monitored.values()
        )
        finite = [[ratio for ratio in ratios if math.isfinite(ratio)] for ratios in steps]
        return max((median(ratios) for ratios in finite if ratios), default=0.0)

    @cached_property
    def growth(self) -> float:
        """By how much the weights' norms grew from the first to the last sample, in the median."""
        samples = [reading for record in self.records for reading in record.monitored.values()]
        if not samples:
            return 1.0
        first, last = samples[0].weight_norm, samples[-1].weight_norm
        ratios = [last[path] / norm for path, norm in first.items() if norm > 0]
        return median(ratios) if ratios else 1.0

    @property
    def rate_gone(self) -> float:
        """The share of the planned steps after which the rate was below a hundredth of its peak.

        Infinite if it never was.
        """
        planned = self.last.step * self.conditions.epochs / len(self.records)
        peak = 0.0
        for record in self.records:
            for step, reading in record.monitored.items():
                peak = max(peak, reading.lr)
                if reading.lr <= 0.01 * peak:
                    return step / planned
        return math.inf

    def is_short_of_data(self, least: int) -> bool:
        """Whether the classes have no more training examples than that, on average."""
        counts = [count for count in self.outputs.class_counts if count]
        return bool(counts) and sum(counts) / len(counts) <= least

    def is_behind(self, least: float) -> bool:
        """Whether training examples are less right in eval mode than they were in training."""
        if self.clean is None or self.last.train_accuracy is None:
            return False
        return self.last.train_accuracy - self.clean.headline[1] > least

    @property
    def clip_factor(self) -> float | None:
        """What clipping leaves of a gradient, in the median; None if it isn't known."""
        return self.typical(lambda reading: reading.clip_factor)

    @property
    def damping(self) -> float | None:
        """The share of the optimizer's denominator that is its eps, in the median."""
        return self.typical(lambda reading: median(reading.damping.values() or (math.nan,)))

    @cached_property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [loss for record in self.records for loss in record.losses]

    @property
    def median_ratio(self) -> float | None:
        """The median update/weight ratio over weights and samples; None if these are too few."""
        ratios = [ratio for _, reading in self.readings for ratio in reading.update_ratio.values()]
        finite = [ratio for ratio in ratios if math.isfinite(ratio)]
        return median(finite) if finite and len(self.readings) >= LEAST_SAMPLES else None

    def typical(self, figure: Callable[[Reading], float]) -> float | None:
        """The median of a figure over the samples; None if these are too few."""
        values = [figure(reading) for _, reading in self.readings]
        finite = [value for value in values if math.isfinite(value)]
        return median(finite) if len(finite) >= LEAST_SAMPLES else None

    @cached_property
    def dead_at_the_start(self) -> dict[str, float]:
        """The share of dead units of each hidden layer in the first sample."""
        return self._first(lambda reading: reading.dead_units)

    @cached_property
    def dead_at_the_end(self) -> dict[str, float]:
        """The same in the last samples; empty if there are too few."""
        return self._recent(lambda reading: reading.dead_units)

    @cached_property
    def saturated_at_the_start(self) -> dict[str, float]:
        """The share of saturated values of each hidden layer in the first sample."""
        return self._first(lambda reading: reading.saturated_units)

    @cached_property
    def saturated_at_the_end(self) -> dict[str, float]:
        """The same in the last samples; empty if there are too few."""
        return self._recent(lambda reading: reading.saturated_units)

    def _first(self, figure: Figure) -> dict[str, float]:
        first = next(iter(self.records[0].monitored.values()), None)
        return {} if first is None else _hidden(first, figure)

    def _recent(self, figure: Figure) -> dict[str, float]:
        recent = [_hidden(reading, figure) for _, reading in self.readings[-LEAST_SAMPLES:]]
        if len(recent) < LEAST_SAMPLES:
            return {}
        paths = [path for path in recent[-1] if all(path in values for values in recent)]
        return {path: median(values[path] for values in recent) for path in paths}

    @cached_property
    def skill(self) -> float | None:
        """How much better than guessing the final model is on clean training examples, 0 to 1."""
        return None if self.clean is None else skill(self.clean, self.outputs)

    @cached_property
    def val_skill(self) -> float | None:
        """The same on the validation split."""
        validation = self.last.validation
        return None if validation is None else skill(validation, self.outputs)

    @property
    def fall(self) -> float:
        """How far the training loss fell, as a share of where it started."""
        end = min(record.train_loss for record in self.records)
        return (self.start_loss - end) / max(abs(self.start_loss), 1e-12)

    @property
    def is_stuck(self) -> bool:
        """Whether the loss didn't fall.

        A network that starts well below chance, a pretrained one say, has less far to fall.
        """
        end = min(record.train_loss for record in self.records)
        return self.fall < 0.02 and end > 0.5 * self.chance

    @property
    def is_poor(self) -> bool:
        """Whether the final model is little better than guessing on its own training examples."""
        return self.is_stuck or (self.skill is not None and self.skill < POOR)

    @property
    def noise(self) -> float:
        """The standard error of a validation accuracy: that of a share of its examples."""
        if self.last.validation is None:
            return 0.0
        _, share = self.last.validation.headline
        share = min(max(share, 0.0), 1.0)
        return math.sqrt(share * (1 - share) / self.last.validation.examples)

    def epochs(self) -> Iterator[tuple[EpochRecord, Evaluation]]:
        """The epochs that were evaluated."""
        for record in self.records:
            if record.validation is not None:
                yield record, record.validation


def _hidden(reading: Reading, figure: Figure) -> dict[str, float]:
    """The figure of all layers but the last, whose values are the model's outputs."""
    output = next(reversed(reading.activation_norm), None)
    return {path: value for path, value in figure(reading).items() if path != output}
