from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict, worst
from nnrecipe.core.report import Report

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
    (cause,) = document["diagnosis"]
    assert cause.items() >= {"cause": "init_too_large", "confidence": 0.9}.items()
    assert cause["evidence"] == ["sanity/a_check"]


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
