"""The learning-rate probe: which rates are too low, good and exploding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch.utils.flop_counter import FlopCounterMode

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Count, PositiveFloat, Spec
from nnrecipe.data.batch import Batch
from nnrecipe.stages.run import Run
from nnrecipe.training.ladder import Band, Rung, bands, climb, rates, start_loss, suggest

SOURCE = "lecture: babysitting the learning process"
MOST_STEPS, FEWEST_STEPS = 40, 12
FULL_BATCH = 1000
"""Examples that stand for the whole training split on a ladder of full-batch descent."""
LARGE_BATCH = 256
"""Examples up to which a step of the ladder is made of several batches."""
EVALUATIONS = 20
"""How often an optimizer that evaluates the loss anew does so in a step, about: lbfgs's default."""
RUNG_FLOPS = 6e11
"""What a rung of more than the fewest steps may cost: some ten seconds on two cores."""


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
        steps = self.steps or _affordable(run)
        batches = _batches(run, steps)
        declared = run.bench.learning_rate
        ladder = list(rates(self.lowest, self.highest, per_decade=self.per_decade))
        run.progress.begin(self.kind)
        with isolated_rng(run.bench.seed, "lr_probe"):
            start = start_loss(run.bench.make_model(), run.bench.make_loss(), batches)
        rungs = list(_coarse(run, ladder[:: self.per_decade], batches, start))
        rungs += [_rung(run, rate, batches, start) for rate in _between(ladder, rungs)]
        # Before the recipe's own rate joins in: the suggestion doesn't depend on it.
        run.suggested_rate = suggest(rungs)
        if declared is not None and declared not in [rung.rate for rung in rungs]:
            rungs.append(_rung(run, declared, batches, start))
        rungs.sort(key=lambda rung: rung.rate)
        verdicts = bands(rungs)
        findings = _judge(run, {rung.rate: rung for rung in rungs}, verdicts)
        return StageResult.of(self.kind, _facts(run, rungs, verdicts, steps=steps), findings)


def _batches(run: Run, steps: int) -> list[Batch]:
    """The same batches for every rate: the first of as many epochs as it takes.

    Where the recipe descends by the gradient of all examples, one large batch stands for them.
    """
    data, found, epoch = run.bench.data, list[Batch](), 0
    if run.training.accumulate == "epoch":
        return [run.bench.sample(data.train, FULL_BATCH)] * steps
    wanted = steps * _accumulate(run)
    while len(found) < wanted:
        draw = generator(run.bench.seed, "lr_probe", epoch)
        found += islice(
            data.training_batches(run.bench.batch_size, generator=draw), wanted - len(found)
        )
        epoch += 1
    return found


def _accumulate(run: Run) -> int:
    """Batches that make a step of the ladder: the recipe's, as far as they don't grow too large.

    A rate that suits a step of many examples may be too high for one of few.
    """
    wanted = run.training.accumulate
    if wanted == "epoch":
        return 1  # of the one large batch
    return max(1, min(wanted, LARGE_BATCH // run.bench.batch_size))


def _affordable(run: Run) -> int:
    """Steps that a rung can take within `RUNG_FLOPS`, between the fewest and the most.

    Operations are counted, not seconds, so that every machine probes alike.
    """
    examples = run.bench.sample(run.bench.data.train, 2)
    with FlopCounterMode(display=False) as counter:
        run.bench.loss_of(run.bench.make_model(), examples).backward()
    full = run.training.accumulate == "epoch"
    size = FULL_BATCH if full else run.bench.batch_size * _accumulate(run)
    size *= EVALUATIONS if run.bench.reevaluates else 1
    per_step = counter.get_total_flops() / len(examples.targets) * size
    return min(MOST_STEPS, max(FEWEST_STEPS, int(RUNG_FLOPS / max(per_step, 1))))


def _coarse(run: Run, ladder: list[float], batches: list[Batch], start: float) -> Iterator[Rung]:
    """From the middle upwards until a rate diverges, then downwards until one hardly moves."""
    middle = len(ladder) // 2
    upwards, downwards = ladder[middle:], ladder[:middle][::-1]
    for way, is_over in ((upwards, _diverged), (downwards, _idle)):
        for rate in way:
            yield (rung := _rung(run, rate, batches, start))
            if is_over(rung):
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


def _diverged(rung: Rung) -> bool:
    return rung.fall < -0.02 * abs(rung.start)


def _idle(rung: Rung) -> bool:
    return abs(rung.fall) < 0.002 * abs(rung.start)


def _rung(run: Run, rate: float, batches: list[Batch], start: float) -> Rung:
    with isolated_rng(run.bench.seed, "lr_probe"):
        setup = run.bench.setup(run.bench.make_model(), lr=rate, accumulate=_accumulate(run))
        rung = climb(setup, batches, rate=rate, start=start)
    run.progress.advance(note=f"lr {rate:g}")
    return rung


def _facts(
    run: Run, rungs: list[Rung], verdicts: dict[float, Band], *, steps: int
) -> dict[str, Any]:
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
        "steps": steps,
    }


def _judge(run: Run, rungs: dict[float, Rung], verdicts: dict[float, Band]) -> Iterator[Finding]:
    declared, suggestion = run.bench.learning_rate, run.suggested_rate
    good = [rate for rate, band in verdicts.items() if band is Band.GOOD]
    verdict, cause, advice, expected = Verdict.PASS, None, "", "a rate at which the loss falls"
    if suggestion is None:
        measured = "the loss fell at no learning rate"
        verdict = Verdict.FAIL if declared is None else Verdict.WARN
        advice = "The rate isn't what is wrong: look at the findings of the earlier stages."
    elif declared is None:
        measured = f"good from {min(good):g} to {max(good):g}; taken: {suggestion:g}"
    else:
        band, rung = verdicts[declared], rungs[declared]
        measured = f"{declared:g} is {band}: loss {rung.start:.4g} -> {rung.end:.4g}"
        expected = f"good, from {min(good):g} to {max(good):g}"
        if band is Band.TOO_LOW:
            verdict, cause = Verdict.WARN, Cause.LR_TOO_LOW
        elif band is Band.EXPLODING:
            verdict = _gravity(rung, at_once=run.schedule(0) >= 0.5)
            cause = None if verdict is Verdict.PASS else Cause.LR_TOO_HIGH
            advice = "The schedule starts low, so the first steps are spared this rate."
        if cause is not None:
            advice = f"Set optimizer.lr: {suggestion:g}, or auto."
    yield Finding(
        check="lr_band",
        verdict=verdict,
        measured=measured,
        expected=expected,
        cause=cause,
        confidence=0.9 if verdict is Verdict.FAIL else 0.6 if cause else 0.0,
        advice=advice,
        source=SOURCE,
    )


def _gravity(rung: Rung, *, at_once: bool) -> Verdict:
    """How bad a rate is that explodes on the ladder, where it is applied `at_once`.

    Many a sound training starts with a few steps up; only a lost one proves the rate wrong. And a
    schedule that starts low may carry a rate which would be too high for the first steps.
    """
    lost = not math.isfinite(rung.end)
    if lost and at_once:
        return Verdict.FAIL
    return Verdict.WARN if lost or at_once else Verdict.PASS
