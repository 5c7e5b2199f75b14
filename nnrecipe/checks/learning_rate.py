"""The verdict on the recipe's learning rate, by what a ladder of rates did in as many steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.ladder import Band, Rung

SOURCE = "lecture: babysitting the learning process"
FLAT = 0.005
"""A fall by less of the start, at the best rate, says nothing about rates."""
CAUGHT_UP = 0.7
"""The share of the suggested rate's fall that shows, in a longer trial, that a rate is sound."""
PATIENCE = 3.0
"""How many times the ladder's way at the suggested rate the training should go at its own."""
LONG = 10_000
"""The steps of a training of which nobody has said how long it will be."""
STALLED = 0.02
"""The share of the suggested rate's fall on the ladder up to which a longer trial leads nowhere."""


@dataclass(frozen=True)
class Ladder:
    """The rungs by their rates, the bands they fell into, and the rate that they suggest.

    A rung took `steps` steps.
    """

    rungs: Mapping[float, Rung]
    verdicts: Mapping[float, Band]
    suggestion: float | None
    steps: int

    @property
    def good(self) -> tuple[float, float]:
        """The lowest and the highest good rate."""
        rates = [rate for rate, band in self.verdicts.items() if band is Band.GOOD]
        return min(rates), max(rates)

    @property
    def best(self) -> Rung:
        """The rung whose loss fell the furthest."""
        return max(self.rungs.values(), key=lambda rung: rung.fall)

    @property
    def flat(self) -> bool:
        """Whether the loss hardly fell at any rate."""
        return self.best.fall < FLAT * abs(self.best.start)


@dataclass(frozen=True)
class Plan:
    """What training would make of a rate: its factor at the first step, and the sum over all.

    There is no `total` where nobody has said how long the training will be.
    """

    first: float
    total: float | None

    @property
    def at_once(self) -> bool:
        """Whether the rate holds from the first step on."""
        return self.first >= 0.5


Trial = Callable[[float], Rung]
"""A rate -> what becomes of the loss in more steps than on the ladder."""


@dataclass(frozen=True)
class _Opinion:
    """A verdict on a rate, and the trial's figures where there was one."""

    verdict: Verdict = Verdict.PASS
    cause: Cause | None = None
    confidence: float = 0.0
    advice: str = ""
    tried: str = ""


def judge_rate(declared: float | None, ladder: Ladder, plan: Plan, trial: Trial) -> Finding:
    """The verdict on the declared rate; of `auto`, whether a rate was found.

    `trial` is asked where the ladder leaves it open whether a rate is too high, or where the plan
    does whether it is too low.
    """
    suggestion = ladder.suggestion
    if suggestion is None:
        return _finding(
            "the loss fell at no learning rate",
            "a rate at which the loss falls",
            _Opinion(
                Verdict.FAIL if declared is None else Verdict.WARN,
                advice="The rate isn't what is wrong: look at the findings of the earlier stages.",
            ),
        )
    low, high = ladder.good
    if declared is None:
        measured = f"good from {low:g} to {high:g}; taken: {suggestion:g}"
        return _finding(measured, "a rate at which the loss falls", _Opinion())
    band, rung = ladder.verdicts[declared], ladder.rungs[declared]
    measured = f"{declared:g} is {band}: loss {rung.start:.4g} -> {rung.end:.4g}"
    opinion = _opinion(band, rung, ladder, plan, trial)
    return _finding(
        measured + opinion.tried, f"good, from {low:g} to {high:g}", opinion, suggestion
    )


def _opinion(band: Band, rung: Rung, ladder: Ladder, plan: Plan, trial: Trial) -> _Opinion:
    lost = not math.isfinite(rung.end)
    if band is Band.GOOD:
        return _Opinion()
    if ladder.flat and not lost:
        return _Opinion(
            advice="The loss hardly falls at any rate in these steps, so they tell none from "
            "another: look at the findings of the earlier stages."
        )
    if band is Band.TOO_LOW:
        return _too_low(rung, ladder, plan, trial)
    if lost:
        return _Opinion(
            Verdict.FAIL if plan.at_once else Verdict.WARN,
            Cause.LR_TOO_HIGH,
            0.95 if plan.at_once else 0.6,
        )
    if not plan.at_once:
        return _Opinion(advice="The schedule starts low, so the first steps are spared this rate.")
    return _perhaps_too_high(rung, ladder, trial)


def _too_low(rung: Rung, ladder: Ladder, plan: Plan, trial: Trial) -> _Opinion:
    """Whether all steps of the training together lead hardly further than the ladder's best few.

    Of a training without a known end it takes more: that the loss stalls in a longer trial.
    """
    assert ladder.suggestion is not None, "there is one where a loss fell"
    total = LONG if plan.total is None else plan.total
    way = rung.rate * total / (ladder.suggestion * ladder.steps)
    confidence = 0.6 + 0.15 * math.log10(PATIENCE / max(way, 1e-12))
    if way < PATIENCE and plan.total is not None:
        return _Opinion(Verdict.WARN, Cause.LR_TOO_LOW, min(0.95, confidence))
    if way < PATIENCE:
        mine = trial(rung.rate)
        tried = f"; in a longer trial {mine.end:.4g}"
        if mine.fall < STALLED * ladder.rungs[ladder.suggestion].fall:
            return _Opinion(Verdict.WARN, Cause.LR_TOO_LOW, min(0.95, confidence), tried=tried)
        return _Opinion(advice="The rate is low, but the loss falls.", tried=tried)
    return _Opinion(
        advice="The rate is low, but the training is long enough for it; a higher one would "
        "get as far sooner."
    )


def _perhaps_too_high(rung: Rung, ladder: Ladder, trial: Trial) -> _Opinion:
    """Whether a rate that starts badly catches up, in more steps, with the suggested one.

    Many a sound training begins with a few steps up.
    """
    assert ladder.suggestion is not None, "there is one where a loss fell"
    mine, other = trial(rung.rate), trial(ladder.suggestion)
    tried = f"; in a longer trial {mine.end:.4g}, at {ladder.suggestion:g} {other.end:.4g}"
    share = mine.fall / other.fall if other.fall > 0 else 1.0
    if share >= CAUGHT_UP:
        return _Opinion(advice="The loss catches up after its start.", tried=tried)
    confidence = 0.9 if share < 0.3 else 0.8
    return _Opinion(Verdict.WARN, Cause.LR_TOO_HIGH, confidence, tried=tried)


def _finding(
    measured: str, expected: str, opinion: _Opinion, suggestion: float | None = None
) -> Finding:
    advice, change = opinion.advice, tuple[str, ...]()
    if opinion.cause is not None:
        change = (f"optimizer.lr={suggestion:g}",)
        what = "overshoots" if opinion.cause is Cause.LR_TOO_HIGH else "hardly moves the weights"
        advice = (
            f"Set optimizer.lr: {suggestion:g}, or auto: at the declared rate a step {what}, and "
            "at that one the loss falls furthest."
        )
    return Finding(
        check="lr_band",
        verdict=opinion.verdict,
        measured=measured,
        expected=expected,
        cause=opinion.cause,
        confidence=round(opinion.confidence, 2),
        advice=advice,
        change=change,
        source=SOURCE,
    )
