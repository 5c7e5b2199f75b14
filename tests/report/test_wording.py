import math

import pytest
from report_samples import finding, stage

from nnrecipe.core.report import Report
from nnrecipe.report.facts import lay_out
from nnrecipe.report.wording import clean, duration, headline, metric, number, sentence, spoken


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
    assert spoken("init_too_large") == "initialization too large"
    assert spoken("dead_relu") == "dead ReLU"
    assert sentence("R2 of a Test") == "R2 of a Test"
    assert sentence("dead ReLU") == "Dead ReLU"


def test_the_headline_says_what_happened(healthy, failed):
    assert headline(Report.of("x", [stage("data", finding("scale"))], {})) == "All 1 check passed."
    assert headline(failed).startswith("1 of 2 checks failed, first in sanity. Most likely: init")
    assert headline(healthy).startswith("Nothing failed; 2 of 11 checks deserve a look.")
    assert headline(healthy).endswith("Test accuracy 97.22 %.")
    assert headline(Report.of("x", [], {"test_r2": 0.98765})).endswith("Test R2 0.9877.")


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
    assert per_class.heads == ("", "recall", "F1")
    assert per_class.rows == (("cat", "50.00 %", "-"), ("dog", "100.00 %", "-"))
    assert (rows.heads, rows.rows) == (("learning rate", "band"), (("0.1", "good"),))


def test_facts_have_the_units_that_their_names_tell():
    facts = {"train_accuracy_clean": 0.98765, "spent": 12.34, "loss": 0.5, "accuracy": math.nan}
    assert dict(lay_out(facts).values) == {
        "train accuracy clean": "98.77 %",
        "spent": "12.3 s",
        "loss": "0.5",
        "accuracy": "nan",
    }


def test_tables_that_are_long_or_drawn_are_folded():
    def folded(name, rows):
        (table,) = lay_out({name: [{"a": place} for place in range(rows)]}).tables
        return table.folded

    assert not folded("per_class", 12)
    assert folded("per_class", 13)
    assert folded("ladder", 3)


def test_long_tables_say_what_they_leave_out():
    (table,) = lay_out({"rows": [{"a": place} for place in range(250)]}).tables
    assert len(table.rows) == 200
    assert table.name == "rows (50 more in report.json)"
