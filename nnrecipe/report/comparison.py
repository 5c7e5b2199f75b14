"""Runs side by side: a row for each config, with its figures over the seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from nnrecipe.core.errors import UserError
from nnrecipe.core.report import Report
from nnrecipe.report.attempts import Attempt
from nnrecipe.report.differences import Path, differing, label, texts, value_at
from nnrecipe.report.store import REPORT_FILE
from nnrecipe.report.wording import clean

SPLITS = ("test", "val", "train")
"""Whose figures count, best first."""
SMALLER_IS_BETTER = ("loss", "error", "mse", "rmse", "mae")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1 in the denominator; NaN for one value) of n values."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread of values; None of none."""
        if not values:
            return None
        known = len(values) > 1 and all(map(math.isfinite, values))
        return cls(mean(values), stdev(values) if known else math.nan, len(values))


@dataclass(frozen=True)
class Row:
    """A config and its runs, which differ in nothing but their seeds.

    `settings` are the values, as text, of the keys in which the rows differ.
    """

    settings: tuple[str, ...]
    attempts: tuple[Attempt, ...]

    @property
    def reports(self) -> list[Report]:
        """The reports of the runs that have one."""
        return [attempt.report for attempt in self.attempts if attempt.report is not None]

    def values(self, metric: str) -> list[float]:
        """A metric's value in each run that has it."""
        having = [a for a in self.attempts if a.report is not None and metric in a.report.metrics]
        return [_figure(attempt, metric) for attempt in having]

    def spread(self, metric: str) -> Spread | None:
        """A metric over the runs; None if none has it."""
        return Spread.of(self.values(metric))

    @property
    def train_seconds(self) -> float | None:
        """How long training took, on average; None if no run came to it."""
        took = [s.seconds for r in self.reports for s in r.stages if s.stage == "train"]
        return mean(took) if took else None

    @property
    def seconds(self) -> float | None:
        """How long all stages took, on average."""
        took = [sum(stage.seconds for stage in report.stages) for report in self.reports]
        return mean(took) if took else None

    @property
    def parameters(self) -> int | None:
        """How many numbers the network learns, if a stage has counted them."""
        counted = [stage.facts.get("parameters") for r in self.reports for stage in r.stages]
        return next((count for count in counted if isinstance(count, int)), None)

    @property
    def outcome(self) -> str:
        """How the runs ended; where they differ, how many ended in which way."""
        ends = [attempt.outcome for attempt in self.attempts]
        if len(set(ends)) == 1:
            return ends[0]
        return ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))

    @property
    def remarks(self) -> list[str]:
        """Why runs have no report, or end early; each reason once."""
        return list(dict.fromkeys(attempt.remark for attempt in self.attempts if attempt.remark))


@dataclass(frozen=True)
class Comparison:
    """The rows, the keys in which their configs differ, and the metrics to compare them by.

    The first metric ranks the rows. `best` is the place of the best one; None where no two can be
    compared.
    """

    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    best: int | None

    @property
    def telling(self) -> list[str]:
        """The first keys that suffice to tell the rows apart: an init says which gain it has."""
        chosen: list[int] = []
        for column in range(len(self.keys)):
            if len(self._told_apart([*chosen, column])) > len(self._told_apart(chosen)):
                chosen.append(column)
        return [self.keys[column] for column in chosen]

    def name(self, row: Row, *, keys: bool = True) -> str:
        """A row's config in a line, `norm=batch, init=zeros`; without `keys`, `batch, zeros`."""
        value = dict(zip(self.keys, row.settings, strict=True))
        words = {key: value[key] for key in self.telling if value[key] != "-"}
        return ", ".join(f"{key}={word}" if keys else word for key, word in words.items())

    def _told_apart(self, columns: Sequence[int]) -> set[tuple[str, ...]]:
        return {tuple(row.settings[column] for column in columns) for row in self.rows}


def compare(attempts: Sequence[Attempt]) -> Comparison:
    """Put runs of the same config together, in the order in which the configs come first."""
    groups: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        same = json.dumps(attempt.config, sort_keys=True, default=str)
        groups.setdefault(same, []).append(attempt)
    columns = _columns([group[0] for group in groups.values()])
    settings = list(zip(*columns.values(), strict=True)) or [()] * len(groups)
    rows = [Row(own, tuple(group)) for own, group in zip(settings, groups.values(), strict=True)]
    metrics = _metrics(rows)
    return Comparison(tuple(columns), metrics, tuple(rows), _best(rows, metrics))


def smaller_is_better(metric: str) -> bool:
    """Whether a metric measures what is wrong: a loss, an error."""
    return metric.rpartition("_")[2] in SMALLER_IS_BETTER


def _columns(attempts: Sequence[Attempt]) -> dict[str, list[str]]:
    """The keys in which configs differ, each with its value in each; folders, if they need it.

    What a grid varies comes first, in its order. What its values imply is left out: the usual
    gain of an init that is varied, say.
    """
    configs = [attempt.config for attempt in attempts]
    varied = list(dict.fromkeys(key for attempt in attempts for key in attempt.varied))
    paths = sorted(differing(configs), key=lambda path: _rank(path, varied))
    asked = {key.removesuffix(".kind") for key in varied}
    columns: dict[str, list[str]] = {}
    for path in paths:
        column = texts([value_at(config, path) for config in configs])
        name, free = label(path), _rank(path, varied) == len(varied)
        if name in asked or free or _apart([*columns.values(), column]) > _apart(columns.values()):
            columns[name] = column
    if _apart(columns.values()) < len(attempts) > 1:
        columns["run"] = [clean(str(attempt.folder)) for attempt in attempts]
    return columns


def _apart(columns: Collection[Sequence[str]]) -> int:
    """How many rows these columns tell apart."""
    return len(set(zip(*columns, strict=True)))


def _rank(path: Path, varied: Sequence[str]) -> int:
    """The place, among the varied keys, of the one that a path is or lies below."""
    above = [".".join(path[:depth]) for depth in range(1, len(path) + 1)]
    return next((place for place, key in enumerate(varied) if key in above), len(varied))


def _metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """All metrics of the split that most rows have figures of: scores first, losses last."""
    names = dict.fromkeys(name for row in rows for report in row.reports for name in report.metrics)
    by_split = {split: [n for n in names if n.startswith(f"{split}_")] for split in SPLITS}
    measured = {
        split: sum(any(map(row.values, by_split[split])) for row in rows) for split in SPLITS
    }
    split = max(SPLITS, key=lambda split: measured[split])
    return tuple(sorted(by_split[split], key=smaller_is_better))


def _best(rows: Sequence[Row], metrics: Sequence[str]) -> int | None:
    """The row with the best mean of the first metric; of equals, that which is best in the next."""
    scores: dict[int, list[float]] = {}
    for place, row in enumerate(rows):
        spreads = [row.spread(metric) for metric in metrics]
        if spreads and spreads[0] is not None and math.isfinite(spreads[0].mean):
            scores[place] = [
                -math.inf if spread is None or math.isnan(spread.mean)
                else -spread.mean if smaller_is_better(metric) else spread.mean
                for metric, spread in zip(metrics, spreads, strict=True)
            ]  # fmt: skip
    return max(scores, key=lambda place: scores[place]) if len(scores) > 1 else None


def _figure(attempt: Attempt, metric: str) -> float:
    value: Any = attempt.report.metrics[metric] if attempt.report is not None else None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        where = f"{attempt.folder / REPORT_FILE}: metrics.{metric}"
        raise UserError(f"{where}: is {value!r}, no number: run the recipe again") from error
