"""From findings to causes: joined, ranked, and without those that another accounts for."""

from __future__ import annotations

import pytest

from nnrecipe.core.causes import Cause
from nnrecipe.core.diagnosis import ACCOUNTS_FOR, OUTCOMES, diagnose_stages
from nnrecipe.core.findings import Finding, StageResult, Verdict


def _finding(cause: Cause | None, confidence: float = 0.0, check: str = "a_check") -> Finding:
    verdict = Verdict.PASS if cause is None else Verdict.WARN
    return Finding(
        check=check, verdict=verdict, measured="1", expected="2", cause=cause, confidence=confidence
    )


def _causes(*findings: Finding) -> list[Cause]:
    return [diagnosis.cause for diagnosis in diagnose_stages([StageResult.of("s", {}, findings)])]


def test_findings_that_agree_add_up_as_independent_evidence() -> None:
    one = StageResult.of("sanity", {}, [_finding(Cause.ZERO_INIT, 0.5)])
    two = StageResult.of("overfit", {}, [_finding(Cause.ZERO_INIT, 0.8)])
    (diagnosis,) = diagnose_stages([one, two])
    assert diagnosis.confidence == pytest.approx(1 - 0.5 * 0.2)
    assert diagnosis.evidence == ("sanity/a_check", "overfit/a_check")


def test_checks_of_one_stage_see_one_fact_and_the_surest_speaks() -> None:
    parts = [_finding(Cause.ACCIDENTAL_FREEZE, c, f"check_{c}") for c in (0.6, 0.8)]
    wiring = StageResult.of("wiring", {}, [_finding(Cause.ACCIDENTAL_FREEZE, 0.6, "holds")])
    (diagnosis,) = diagnose_stages([wiring, StageResult.of("sanity", {}, parts)])
    assert diagnosis.confidence == 0.8
    assert len(diagnosis.evidence) == 3
    overfit = StageResult.of("overfit", {}, [_finding(Cause.ACCIDENTAL_FREEZE, 0.5)])
    (diagnosis,) = diagnose_stages([wiring, StageResult.of("sanity", {}, parts), overfit])
    assert diagnosis.confidence == pytest.approx(0.9)


def test_one_check_speaks_once() -> None:
    twice = [_finding(Cause.ZERO_INIT, 0.5), _finding(Cause.ZERO_INIT, 0.4)]
    (diagnosis,) = diagnose_stages([StageResult.of("sanity", {}, twice)])
    assert diagnosis.evidence == ("sanity/a_check",)
    assert diagnosis.confidence == 0.5


def test_independent_causes_rank_by_confidence() -> None:
    found = [_finding(Cause.UNSHUFFLED, 0.3), _finding(Cause.LEAKAGE, 0.9)]
    assert _causes(*found) == [Cause.LEAKAGE, Cause.UNSHUFFLED]


def test_what_a_cause_accounts_for_becomes_its_evidence() -> None:
    root = _finding(Cause.INPUT_UNSCALED, 0.8, "input_scale")
    symptom = _finding(Cause.LR_TOO_HIGH, 0.9, "lr_band")
    (diagnosis,) = diagnose_stages([StageResult.of("s", {}, [root, symptom])])
    assert diagnosis.cause is Cause.INPUT_UNSCALED
    assert diagnosis.evidence == ("s/input_scale", "s/lr_band")


def test_a_weak_suspicion_accounts_for_nothing_surer() -> None:
    found = [_finding(Cause.INPUT_UNSCALED, 0.4), _finding(Cause.LR_TOO_HIGH, 0.9)]
    assert _causes(*found) == [Cause.LR_TOO_HIGH, Cause.INPUT_UNSCALED]


def test_a_bad_end_is_named_only_where_nothing_explains_it() -> None:
    assert _causes(_finding(Cause.UNDERFITTING, 0.3)) == [Cause.UNDERFITTING]
    found = [_finding(Cause.UNDERFITTING, 0.3), _finding(Cause.ADAM_EPS, 0.9)]
    assert _causes(*found) == [Cause.ADAM_EPS]


def test_a_training_that_is_too_short_underfits() -> None:
    found = [_finding(Cause.UNDERFITTING, 0.4), _finding(Cause.UNDERTRAINED, 0.6)]
    assert _causes(*found) == [Cause.UNDERTRAINED]


def test_of_two_that_account_for_each_other_the_surer_stays() -> None:
    assert Cause.DEAD_RELU in ACCOUNTS_FOR[Cause.LR_TOO_HIGH]
    assert Cause.LR_TOO_HIGH in ACCOUNTS_FOR[Cause.DEAD_RELU]
    for surer, other in [
        (Cause.DEAD_RELU, Cause.LR_TOO_HIGH),
        (Cause.LR_TOO_HIGH, Cause.DEAD_RELU),
    ]:
        assert _causes(_finding(surer, 0.9), _finding(other, 0.7)) == [surer]
        assert len(_causes(_finding(surer, 0.9), _finding(other, 0.9))) == 2


def test_findings_that_passed_or_name_no_cause_are_no_diagnosis() -> None:
    passed = _finding(Cause.ZERO_INIT, 0.9).model_copy(update={"verdict": Verdict.PASS})
    assert _causes(_finding(None), passed) == []


def test_a_diagnosis_carries_the_surest_findings_remedy() -> None:
    weak = _finding(Cause.ADAM_EPS, 0.4, "weak").model_copy(update={"advice": "no"})
    remedy = {"advice": "yes", "change": ("optimizer.eps=1e-8",), "where": "mine.py:3"}
    strong = _finding(Cause.ADAM_EPS, 0.9, "strong").model_copy(update=remedy)
    (diagnosis,) = diagnose_stages([StageResult.of("s", {}, [weak, strong])])
    assert (diagnosis.advice, diagnosis.change) == ("yes", ("optimizer.eps=1e-8",))
    assert diagnosis.where == "mine.py:3"


@pytest.mark.parametrize("cause", ACCOUNTS_FOR)
def test_no_cause_accounts_for_itself(cause: Cause) -> None:
    assert cause not in ACCOUNTS_FOR[cause]
    if cause not in OUTCOMES:
        assert not ACCOUNTS_FOR[cause] & OUTCOMES  # said once for all of them


def test_of_two_opposite_rates_the_surer_stays() -> None:
    found = [_finding(Cause.LR_TOO_HIGH, 0.7), _finding(Cause.LR_TOO_LOW, 0.6, "another")]
    (diagnosis,) = diagnose_stages([StageResult.of("s", {}, found)])
    assert diagnosis.cause is Cause.LR_TOO_HIGH
    assert diagnosis.evidence == ("s/a_check",)
