import math

import pytest
from report_samples import finding, stage

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.facts import lay_out
from nnrecipe.report.wording import advice_on, clean, duration, headline, metric, number, spoken


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (61706, "61,706"),
        (True, "yes"),
        (None, "-"),
        (0.025742, "0.02574"),
        (1e-5, "1e-05"),
        (15310.4, "15,310"),
        (math.nan, "nan"),
        ("two\nlines", "two lines"),
    ],
)
def test_figures_read_as_people_write_them(value, text):
    assert number(value) == text


def test_accuracies_are_per_cent():
    assert metric("test_accuracy", 0.97219) == "97.22 %"
    assert metric("test_accuracy", "nan") == "nan"
    assert metric("test_loss", 0.5) == "0.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.305, "0.30 s"), (12.44, "12.4 s"), (59.98, "1 min 0 s"), (212.2, "3 min 32 s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_control_characters_are_gone_and_long_texts_cut():
    assert clean("a\x1b[31m\r\nb\u202ec\x00") == "a [31m b c"
    assert clean("x" * 20, limit=10) == "xxxxxxx..."


def test_codes_are_spelled_out():
    assert spoken("lr_too_high") == "learning rate too high"
    assert spoken("val_loss") == "validation loss"


def test_the_headline_says_what_happened(healthy, failed):
    assert headline(Report.of("x", [stage("data", finding("scale"))], {})) == "All 1 check passed."
    assert headline(failed).startswith("1 of 2 checks failed, first in sanity. Most likely: init")
    assert headline(healthy).startswith("Nothing failed; 2 of 11 checks deserve a look.")
    assert headline(healthy).endswith("Test accuracy 97.22 %.")
    assert headline(Report.of("x", [], {"test_r2": 0.98765})).endswith("Test r2 0.9877.")


def test_advice_on_a_cause_is_the_gravest_first_and_said_once():
    def seen(verdict, confidence, advice):
        cause = Cause.INIT_TOO_LARGE
        return finding("check", verdict, cause=cause, confidence=confidence, advice=advice)

    findings = [
        seen(Verdict.WARN, 0.9, "third"),
        seen(Verdict.FAIL, 0.5, "second"),
        seen(Verdict.FAIL, 0.8, "first"),
        seen(Verdict.WARN, 0.1, "first"),
    ]
    report = Report.of("x", [stage("sanity", *findings)], {})
    assert advice_on(report.diagnosis[0], report) == ["first", "second", "third"]


def test_facts_become_values_and_tables():
    facts = {
        "examples": {"train": 10, "val": 2},
        "shape": [1, 8, 8],
        "none": [],
        "losses": [0.5] * 99 + [0.1],
        "long": list(range(50)),
        "matrix": [[1, 2], [3, 4]],
        "per_class": {"cat": {"recall": 0.5}, "dog": {"recall": 1.0, "f1": None}},
        "rows": [{"lr": 0.1, "band": "good"}],
    }
    sheet = lay_out(facts, drawn={"losses"})
    assert dict(sheet.values) == {
        "examples": "train 10 \N{MIDDLE DOT} val 2",
        "shape": "1 \N{MIDDLE DOT} 8 \N{MIDDLE DOT} 8",
        "none": "none",
        "long": "50 values: 0 ... 49",
        "matrix": "2 rows",
    }
    per_class, rows = sheet.tables
    assert per_class.heads == ("", "recall", "f1")
    assert per_class.rows == (("cat", "0.5", "-"), ("dog", "1", "-"))
    assert (rows.heads, rows.rows) == (("learning rate", "band"), (("0.1", "good"),))


def test_long_tables_say_what_they_leave_out():
    (table,) = lay_out({"rows": [{"a": place} for place in range(250)]}).tables
    assert len(table.rows) == 200
    assert table.name == "rows (50 more in report.json)"
