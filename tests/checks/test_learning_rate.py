"""The verdict on a learning rate: by its band, by the length of the training, by a longer trial."""

from __future__ import annotations

import math

import pytest

from nnrecipe.checks.learning_rate import Ladder, Plan, judge_rate
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.training.ladder import Rung, bands, suggest

ENDS = {1e-4: 2.25, 1e-3: 1.9, 1e-2: 1.0, 1e-1: 0.9, 0.3: 1.9, 1.0: 2.4, 10.0: math.inf}
OPEN = Plan(first=1.0, total=None)
LONG, SHORT = Plan(first=1.0, total=1e6), Plan(first=1.0, total=100)
WARMED_UP = Plan(first=0.01, total=1e6)


def judged(
    declared: float | None,
    *,
    ends: dict[float, float] = ENDS,
    plan: Plan = SHORT,
    trial: dict[float, float] | None = None,
) -> Finding:
    rungs = {rate: Rung(rate, 2.3, end) for rate, end in ends.items()}
    ladder = Ladder(rungs, bands(list(rungs.values())), suggest(list(rungs.values())), steps=40)

    def tried(rate: float) -> Rung:
        assert trial is not None, "no trial is needed"
        return Rung(rate, 2.3, trial[rate])

    return judge_rate(declared, ladder, plan, tried)


@pytest.mark.parametrize("rate", [1e-3, 1e-2, 1e-1])
def test_good_rates_pass_without_a_trial(rate: float) -> None:
    finding = judged(rate)
    assert finding.verdict is Verdict.PASS
    assert finding.change == ()


def test_a_low_rate_is_too_low_for_a_short_training_alone() -> None:
    finding = judged(1e-4)
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.LR_TOO_LOW)
    assert finding.change == ("optimizer.lr=0.01",)
    assert judged(1e-4, plan=LONG).verdict is Verdict.PASS


def test_of_a_training_without_a_known_end_a_low_rate_is_too_low_only_if_it_stalls() -> None:
    ends = ENDS | {1e-6: 2.2999, 1e-5: 2.29}
    stalled = judged(1e-6, ends=ends, plan=OPEN, trial={1e-6: 2.2995})
    assert (stalled.verdict, stalled.cause) == (Verdict.WARN, Cause.LR_TOO_LOW)
    assert "in a longer trial 2.3" in stalled.measured
    slow = judged(1e-5, ends=ends, plan=OPEN, trial={1e-5: 2.2})
    assert (slow.verdict, slow.cause) == (Verdict.PASS, None)
    near = judged(1e-3, ends=ends | {1e-3: 2.25}, plan=OPEN)  # a long training gets there: no trial
    assert near.verdict is Verdict.PASS


def test_the_lower_the_rate_the_surer_the_verdict() -> None:
    sure = [
        judged(rate, ends=ENDS | {rate: 2.299}, plan=Plan(1.0, 1000)).confidence
        for rate in (1e-4, 1e-5, 1e-7)
    ]
    assert sure == sorted(sure)
    assert sure[0] < 0.8 < sure[-1]


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_a_rate_that_does_not_catch_up_is_too_high(rate: float) -> None:
    finding = judged(rate, trial={rate: 1.7, 1e-2: 0.5})
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.LR_TOO_HIGH)
    assert finding.confidence >= 0.8
    assert finding.change == ("optimizer.lr=0.01",)
    assert "1.7" in finding.measured
    flat = judged(rate, trial={rate: 2.31, 1e-2: 0.5})
    assert flat.confidence > finding.confidence


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_a_rate_that_catches_up_passes(rate: float) -> None:
    assert judged(rate, trial={rate: 0.7, 1e-2: 0.5}).verdict is Verdict.PASS


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_a_schedule_that_starts_low_spares_the_first_steps(rate: float) -> None:
    assert judged(rate, plan=WARMED_UP).verdict is Verdict.PASS


def test_a_lost_loss_fails_where_the_rate_holds_at_once() -> None:
    finding = judged(10.0)
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.LR_TOO_HIGH)
    assert judged(10.0, plan=WARMED_UP).verdict is Verdict.WARN


@pytest.mark.parametrize("rate", [1e-6, 1e-2, 1.0])
def test_a_flat_ladder_says_nothing_about_the_rate(rate: float) -> None:
    flat = {1e-6: 2.2999, 1e-4: 2.299, 1e-2: 2.2985, 1.0: 2.301}
    finding = judged(rate, ends=flat)
    assert finding.verdict is Verdict.PASS
    assert finding.cause is None


def test_without_a_falling_rate_no_rate_is_to_blame() -> None:
    rising = {1e-6: 2.3, 1e-2: 2.4, 1.0: math.inf}
    assert (judged(1e-2, ends=rising).verdict, judged(1e-2, ends=rising).cause) == (
        Verdict.WARN,
        None,
    )
    assert judged(None, ends=rising).verdict is Verdict.FAIL


def test_auto_is_told_what_was_taken() -> None:
    assert "taken: 0.01" in judged(None).measured
