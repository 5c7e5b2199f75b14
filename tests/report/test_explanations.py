import shlex

import pytest
from report_samples import HOSTILE, diagnosed_report, failed_report, finding, stage

from nnrecipe.core.causes import Cause
from nnrecipe.core.diagnosis import Diagnosis
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.explanations import explain, explained_by, rerun
from nnrecipe.report.meanings import MEANINGS


def seen(verdict, confidence, advice, check="check", cause=Cause.INIT_TOO_LARGE):
    return finding(check, verdict, cause=cause, confidence=confidence, advice=advice)


def advice(*findings):
    (cause,) = explain(Report.of("x", [stage("sanity", *findings)], {}))
    return cause.advice


def test_a_cause_is_told_with_meaning_remedy_and_source():
    (cause,) = explain(diagnosed_report())
    assert (cause.place, cause.code, cause.name) == (1, "dropout_too_high", "dropout too high")
    assert cause.meaning == MEANINGS[Cause.DROPOUT_TOO_HIGH]
    assert cause.sure == "93 % sure"
    assert cause.advice[0].startswith("Set regularization.dropout: 0.2;")
    assert cause.changes == "regularization.dropout=0.2 '~regularization.dropblock'"
    assert cause.where == "net.py:12: self.drop = nn.Dropout(0.95)"
    assert cause.source == "Srivastava et al. 2014, section 7.3"


def test_what_a_cause_brings_about_is_told_apart_from_its_evidence():
    report = diagnosed_report()
    (cause,) = explain(report)
    assert [e.key for e in cause.signs] == ["diagnosis/experiment_dropout_too_high"]
    assert [e.key for e in cause.symptoms] == ["lr_probe/lr_band"]
    (rare,), (slow,), (proof,) = (result.findings for result in report.stages)
    assert explained_by("lr_probe", slow, [cause]) is cause
    assert explained_by("diagnosis", proof, [cause]) is cause
    assert explained_by("data", rare, [cause]) is None


def test_what_passed_is_evidence_of_nothing():
    fine, sick = finding("check"), seen(Verdict.WARN, 0.5, "")
    causes = explain(Report.of("x", [stage("sanity", sick, fine)], {}))
    assert explained_by("sanity", fine, causes) is None
    assert explained_by("sanity", sick, causes) is causes[0]
    assert causes[0].evidence[0].finding is sick


def test_the_diagnosis_own_advice_comes_first_and_nothing_is_said_twice():
    told = advice(
        seen(Verdict.WARN, 0.9, "own"),
        seen(Verdict.FAIL, 0.8, "grave", "b"),
        seen(Verdict.FAIL, 0.7, "own", "c"),
        seen(Verdict.WARN, 0.1, "another", "d"),
    )
    assert told == ("own", "grave")


def test_further_advice_is_added_only_if_it_is_short():
    assert advice(seen(Verdict.FAIL, 0.9, "own"), seen(Verdict.FAIL, 0.5, "x" * 81, "b")) == (
        "own",
    )
    assert advice(seen(Verdict.FAIL, 0.9, "")) == ()


def test_nothing_is_as_sure_as_can_be():
    sure = [seen(Verdict.FAIL, 1.0, "", check) for check in "ab"]
    (cause,) = explain(Report.of("x", [stage("sanity", *sure)], {}))
    assert cause.sure == "99 % sure"


def test_evidence_that_the_report_has_not_got_is_named_all_the_same():
    lost = Diagnosis(cause=Cause.LEAKAGE, confidence=0.5, evidence=("data/gone", "odd"))
    (cause,) = explain(failed_report().model_copy(update={"diagnosis": (lost,)}))
    assert [(e.stage, e.check, e.finding) for e in cause.signs] == [
        ("data", "gone", None),
        ("odd", "", None),
    ]


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_stay_on_one_line_and_in_one_argument(words):
    told = Diagnosis(
        cause=Cause.LEAKAGE,
        confidence=0.5,
        evidence=(),
        advice=words,
        change=(f"data.root={words}",),
        where=words,
    )
    (cause,) = explain(failed_report().model_copy(update={"diagnosis": (told,)}))
    assert len(shlex.split(cause.changes)) == 1
    for text in (*cause.advice, cause.where, cause.changes):
        assert text.isprintable()


def test_the_run_is_repeated_from_the_config_that_it_keeps(tmp_path):
    assert rerun(tmp_path) == "nnrecipe run config.yaml"
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "config.yaml").touch()
    assert rerun(folder) == f"nnrecipe run '{folder}/config.yaml'"
