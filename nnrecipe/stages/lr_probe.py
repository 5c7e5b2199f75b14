"""The learning-rate probe: which rates are too low, good and exploding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice, pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from nnrecipe.checks.cost import step_flops
from nnrecipe.checks.learning_rate import SOURCE, Ladder, Plan, judge_rate
from nnrecipe.core.findings import StageResult
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Count, PositiveFloat, Spec
from nnrecipe.data.batch import Batch
from nnrecipe.stages.run import Run
from nnrecipe.training.ladder import Band, Rung, bands, climb, rates, start_loss, suggest

MOST_STEPS, FEWEST_STEPS = 40, 24
REPEATED = 4
"""Steps whose batches an expensive network sees again and again: on them its loss falls in few."""
FEWEST_EXAMPLES = 32
"""The smallest batch that stands for the recipe's where a network is expensive."""
FULL_BATCH = 1000
"""Examples that stand for the whole training split on a ladder of full-batch descent."""
LARGE_BATCH = 256
"""Examples up to which a step of the ladder is made of several batches."""
RUNG_FLOPS = 2.5e11
"""What a rung may cost: some four seconds on two cores."""
LONGER = 3
"""A trial takes so many times the steps of the ladder."""


class LrProbeStage(Spec):
    """Trains for a few steps at each rate of a ladder, always from the same initial weights.

    Nothing of it is kept: each rung has a model and an optimizer of its own, and the global random
    generators are put back.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["lr_probe"] = "lr_probe"
    lowest: PositiveFloat = Field(1e-6, description="the lowest learning rate that is tried")
    highest: PositiveFloat = Field(10.0, description="the highest learning rate that is tried")
    per_decade: Count = Field(2, description="rates in each factor of ten")
    steps: Count | None = Field(
        None, description="optimizer steps at each rate; null: 40, or fewer of an expensive network"
    )

    @model_validator(mode="after")
    def _ordered(self) -> LrProbeStage:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest ({self.lowest:g}) must be below highest ({self.highest:g})")
        return self

    def run(self, run: Run) -> StageResult:
        """Climb outwards from the middle of the ladder, then try between what was found."""
        extent = _affordable(run, self.steps)
        climb_at = _Climber(run, extent)
        declared = run.bench.learning_rate
        ladder = list(rates(self.lowest, self.highest, per_decade=self.per_decade))
        run.progress.begin(self.kind)
        rungs = list(_coarse(ladder[:: self.per_decade], climb_at))
        rungs += [climb_at(rate) for rate in _between(ladder, rungs)]
        # Before the recipe's own rate joins in: the suggestion doesn't depend on it.
        run.suggested_rate = suggest(rungs)
        if declared is not None and declared not in [rung.rate for rung in rungs]:
            rungs.append(climb_at(declared))
        rungs.sort(key=lambda rung: rung.rate)
        verdicts = bands(rungs)
        by_rate = {rung.rate: rung for rung in rungs}
        found = Ladder(by_rate, verdicts, run.suggested_rate, extent.steps)
        trial = _Climber(run, replace(extent, steps=LONGER * extent.steps))
        finding = judge_rate(declared, found, _plan(run), trial)
        facts = {"steps": extent.steps, "batch_size": extent.size}
        return StageResult.of(self.kind, _facts(run, rungs, verdicts) | facts, [finding])


@dataclass(frozen=True)
class _Extent:
    """Batches of `size` examples and `steps` steps of them, of which `distinct` are repeated."""

    size: int
    steps: int
    distinct: int


class _Climber:
    """Trains anew at a rate, always from the same weights on the same batches."""

    def __init__(self, run: Run, extent: _Extent) -> None:
        """Batches and their initial loss are made when they are needed."""
        self.run, self.extent = run, extent

    @cached_property
    def batches(self) -> list[Batch]:
        """The batches of all steps."""
        return _batches(self.run, self.extent)

    @cached_property
    def start(self) -> float:
        """The loss of the untrained network on the last batches."""
        bench = self.run.bench
        with isolated_rng(bench.seed, "lr_probe"):
            return start_loss(bench.make_model(), bench.make_loss(), self.batches)

    def __call__(self, rate: float) -> Rung:
        bench = self.run.bench
        with isolated_rng(bench.seed, "lr_probe"):
            setup = bench.setup(bench.make_model(), lr=rate, accumulate=_accumulate(self.run))
            rung = climb(setup, self.batches, rate=rate, start=self.start)
        self.run.progress.advance(note=f"lr {rate:g}")
        return rung


def _batches(run: Run, extent: _Extent) -> list[Batch]:
    """The same batches for every rate: the first of as many epochs as it takes.

    Where the recipe descends by the gradient of all examples, one large batch stands for them.
    """
    data, found, epoch = run.bench.data, list[Batch](), 0
    if run.training.accumulate == "epoch":
        return [run.bench.sample(data.train, extent.size)] * extent.steps
    distinct = min(extent.distinct, extent.steps) * _accumulate(run)
    while len(found) < distinct:
        draw = generator(run.bench.seed, "lr_probe", epoch)
        found += islice(data.training_batches(extent.size, generator=draw), distinct - len(found))
        epoch += 1
    return list(islice(cycle(found), extent.steps * _accumulate(run)))


def _accumulate(run: Run) -> int:
    """Batches that make a step of the ladder: the recipe's, as far as they don't grow too large.

    A rate that suits a step of many examples may be too high for one of few.
    """
    wanted = run.training.accumulate
    if wanted == "epoch":
        return 1  # of the one large batch
    return max(1, min(wanted, LARGE_BATCH // run.bench.batch_size))


def _affordable(run: Run, steps: int | None) -> _Extent:
    """What a rung can have within `RUNG_FLOPS`; steps that are asked for are taken as they are.

    An expensive network gets fewer steps first and then smaller batches, both down to a limit, and
    the same few over again. Operations are counted, not seconds, so that all machines probe alike.
    """
    full = run.training.accumulate == "epoch"
    size = FULL_BATCH if full else run.bench.batch_size
    if steps is not None:
        return _Extent(size, steps, distinct=LONGER * steps)
    each = max(step_flops(run.bench, examples=_accumulate(run)), 1)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, int(RUNG_FLOPS / (each * size))))
    if steps == MOST_STEPS:
        return _Extent(size, steps, distinct=LONGER * steps)
    least = min(size, FEWEST_EXAMPLES)
    return _Extent(min(size, max(least, int(RUNG_FLOPS / (each * steps)))), steps, REPEATED)


def _plan(run: Run) -> Plan:
    """What the schedule makes of a rate over the whole training."""
    schedule, total = run.schedule, run.steps_per_epoch * run.training.epochs
    if not run.length_known:
        return Plan(first=schedule(0), total=None)
    factors = [schedule(step) for step in range(0, total, max(1, total // 100))]
    return Plan(first=schedule(0), total=sum(factors) / len(factors) * total)


def _coarse(ladder: list[float], climb_at: _Climber) -> Iterator[Rung]:
    """From the middle upwards until a rate diverges, then downwards until one hardly moves."""
    middle = len(ladder) // 2
    upwards, downwards = ladder[middle:], ladder[:middle][::-1]
    best = 0.0
    for way, is_over in ((upwards, _diverged), (downwards, _idle)):
        for rate in way:
            yield (rung := climb_at(rate))
            best = max(best, rung.fall)
            if is_over(rung, best):
                break


def _between(ladder: list[float], tried: list[Rung]) -> list[float]:
    """The rates of the ladder that would sharpen the picture.

    They lie beside the best of those tried, or between two that fell into different bands.
    """
    verdicts = bands(tried)
    best = max(tried, key=lambda rung: rung.fall).rate
    ordered = sorted(verdicts)
    wanted = []
    for low, high in pairwise(ordered):
        if best in (low, high) or verdicts[low] is not verdicts[high]:
            wanted += [rate for rate in ladder if low < rate < high]
    return wanted


def _diverged(rung: Rung, _best: float) -> bool:
    return rung.fall < -0.02 * abs(rung.start)


def _idle(rung: Rung, best: float) -> bool:
    """Whether the loss hardly fell, or so little beside the best that a lower rate is too low."""
    return abs(rung.fall) < max(0.002 * abs(rung.start), 0.1 * best)


def _facts(run: Run, rungs: list[Rung], verdicts: dict[float, Band]) -> dict[str, Any]:
    good = [rate for rate, band in verdicts.items() if band is Band.GOOD]
    return {
        "ladder": [
            {
                "lr": rung.rate,
                "start_loss": rung.start,
                "end_loss": rung.end,
                "band": verdicts[rung.rate],
            }
            for rung in rungs
        ],
        "good": [min(good), max(good)] if good else [],
        "suggested": run.suggested_rate,
        "declared": run.bench.learning_rate,
    }
