"""Times of all contenders, taken in turn, and what they are over the base's."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from bench.contenders import BASE
from bench.subject import Trained, Work


@dataclass(frozen=True)
class Ratios:
    """A median, and the quartiles around it; all of the same number where there is but one."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratios:
        """Of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)


@dataclass(frozen=True)
class Row:
    """A contender's times: seconds a step, and the ratios to the base's of the same repeat.

    `process` compares the process's own time, which other programs hardly disturb; None where
    worker processes do part of the work. `loss` is that of the last repeat's network.
    """

    name: str
    step: float
    wall: Ratios
    process: Ratios | None
    loss: float


def measure(work: Work, trainers: dict[str, Callable[[], Trained]], *, repeats: int) -> list[Row]:
    """Train with all in turn, another one first each time."""
    names = list(trainers)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    last: dict[str, tuple[float, bool]] = {}
    for repeat in range(repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            trained = trainers[name]()
            runs[name].append((trained.wall, trained.process))
            last[name] = trained.loss(work), trained.own
    return [
        Row(
            name=name,
            step=median(wall for wall, _ in runs[name]) / work.steps,
            wall=Ratios.of(_over(runs[name], runs[BASE], 0)),
            process=Ratios.of(_over(runs[name], runs[BASE], 1)) if last[name][1] else None,
            loss=last[name][0],
        )
        for name in names
    ]


def _over(
    times: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]], clock: int
) -> list[float]:
    return [one[clock] / other[clock] for one, other in zip(times, base, strict=True)]


def peak_memory() -> float:
    """The most memory that this process has held, in bytes; of its workers, none counts."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss starts from that of the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def header() -> tuple[str, ...]:
    """The columns of `cells`."""
    return ("contender", "ms a step", f"time / {BASE}", "quartiles", "process time", "loss")


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table shows it."""
    return (
        row.name,
        f"{1000 * row.step:.2f}",
        f"{row.wall.middle:.2f}",
        f"{row.wall.low:.2f} ... {row.wall.high:.2f}",
        "-" if row.process is None else f"{row.process.middle:.2f}",
        f"{row.loss:.3f}",
    )
