from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Report, StageResult, Verdict, rank_causes, worst

PASS, WARN, FAIL = Verdict.PASS, Verdict.WARN, Verdict.FAIL


def finding(cause=None, confidence=0.0, *, check="a_check", verdict=WARN):
    return Finding(
        check=check,
        verdict=verdict,
        measured="41.2",
        expected="2.303 (ln 10)",
        cause=cause,
        confidence=confidence,
    )


def stage(name, *findings, verdict=PASS, facts=None):
    return StageResult(
        stage=name, verdict=verdict, seconds=0.5, facts=facts or {}, findings=findings
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([], PASS), ([PASS], PASS), ([PASS, WARN], WARN), ([FAIL, WARN, PASS], FAIL)],
)
def test_worst_is_the_gravest(verdicts, expected):
    assert worst(verdicts) is expected
    assert worst(iter(verdicts)) is expected


def test_findings_that_agree_add_up_as_independent_evidence():
    one = stage("sanity", finding(Cause.ZERO_INIT, 0.5))
    two = stage("overfit", finding(Cause.ZERO_INIT, 0.8))
    (diagnosis,) = rank_causes([one, two])
    assert diagnosis.confidence == pytest.approx(1 - 0.5 * 0.2)
    assert diagnosis.evidence == ("sanity/a_check", "overfit/a_check")


def test_causes_rank_by_confidence():
    result = stage(
        "sanity",
        finding(Cause.DEAD_RELU, 0.3),
        finding(Cause.LR_TOO_HIGH, 0.9),
        finding(Cause.ZERO_INIT, 0.6),
    )
    ranked = [diagnosis.cause for diagnosis in rank_causes([result])]
    assert ranked == [Cause.LR_TOO_HIGH, Cause.ZERO_INIT, Cause.DEAD_RELU]


def test_a_proved_cause_comes_before_a_likelier_suspicion():
    suspicion = finding(Cause.LR_TOO_HIGH, 0.95, verdict=WARN)
    proof = finding(Cause.ZERO_INIT, 0.6, verdict=FAIL)
    ranked = rank_causes([stage("sanity", suspicion, proof)])
    assert ranked[0].cause is Cause.ZERO_INIT


def test_two_certain_causes_can_be_ranked():
    findings = (finding(Cause.DEAD_RELU, 1.0), finding(Cause.ZERO_INIT, 1.0))
    assert [d.confidence for d in rank_causes([stage("sanity", *findings)])] == [1.0, 1.0]


def test_one_check_speaks_once_in_the_evidence():
    twice = (finding(Cause.ZERO_INIT, 0.5), finding(Cause.ZERO_INIT, 0.5))
    (diagnosis,) = rank_causes([stage("sanity", *twice)])
    assert diagnosis.evidence == ("sanity/a_check",)


def test_findings_without_a_cause_are_no_diagnosis():
    assert rank_causes([stage("sanity", finding())]) == ()


@pytest.mark.parametrize(("verdict", "code"), [(PASS, 0), (WARN, 0), (FAIL, 1)])
def test_the_exit_code_is_1_for_a_failed_check_only(verdict, code):
    report = Report.of("net", [stage("data"), stage("sanity", verdict=verdict)], {})
    assert report.verdict is verdict
    assert report.exit_code == code


def test_a_report_survives_json():
    sick = stage(
        "sanity",
        finding(Cause.INIT_TOO_LARGE, 0.9, check="loss_at_init", verdict=FAIL),
        verdict=FAIL,
        facts={"loss_at_init": 41.2, "curve": [1, 2.5], "by_layer": {"fc": None}},
    )
    report = Report.of("net", [stage("data"), sick], {"test_accuracy": 0.99})
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_the_json_is_that_of_version_1():
    sick = stage("sanity", finding(Cause.INIT_TOO_LARGE, 0.9, verdict=FAIL), verdict=FAIL)
    document = json.loads(Report.of("net", [sick], {}).model_dump_json())
    assert document["version"] == 1
    assert list(document) == ["version", "name", "verdict", "stages", "metrics", "diagnosis"]
    assert list(document["stages"][0]) == ["stage", "verdict", "seconds", "facts", "findings"]
    keys = ["check", "verdict", "measured", "expected", "cause", "confidence", "advice", "source"]
    assert sorted(document["stages"][0]["findings"][0]) == sorted(keys)
    assert document["diagnosis"] == [
        {"cause": "init_too_large", "confidence": 0.9, "evidence": ["sanity/a_check"]}
    ]


def test_facts_and_metrics_that_are_not_finite_stay_legal_json():
    facts = {"loss": math.nan, "curve": (1.0, math.inf), "deep": {"low": -math.inf}}
    report = Report.of("net", [stage("train", facts=facts)], {"train_loss": math.nan})
    text = report.model_dump_json()
    document = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in the JSON"))
    expected = {"loss": "nan", "curve": [1.0, "inf"], "deep": {"low": "-inf"}}
    assert document["stages"][0]["facts"] == expected
    assert document["metrics"] == {"train_loss": "nan"}
    assert Report.model_validate_json(text) == report


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(ValidationError):
        finding(Cause.ZERO_INIT, confidence)


def test_causes_are_words_in_snake_case_and_unique():
    values = [cause.value for cause in Cause]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", value) for value in values)


def test_causes_are_those_of_the_design():
    design = Path(__file__).parents[3] / "shared" / "DESIGN.md"
    if not design.exists():
        pytest.skip("the design document is not beside this checkout")
    section = design.read_text().split("## Cause codes")[1].split("A new code")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(cause.value for cause in Cause)
