import io
import os
import subprocess
import sys

import pytest
from report_samples import HOSTILE, diagnosed_report, failed_report, finding, healthy_report, stage
from rich.console import Console

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import print_report
from nnrecipe.report.terminal import found


def printed(report, folder, *, width=80, **options):
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, **options)
    print_report(report, folder, console=console)
    return file.getvalue()


def test_it_says_stages_remarks_causes_metrics_and_verdict(tmp_path, healthy):
    text = printed(healthy, tmp_path)
    order = [
        "lr_probe   pass",
        "warn      sanity/loss_at_init",
        "expected  2.303 (ln 10)",
        "cause     1. initialization too large",
        "test accuracy        97.22 %",
        "most likely causes",
        "1. initialization too large  60 % sure  init_too_large",
        "   The weights start so large",
        "   advice   The last layer starts too large",
        "   seen by  sanity/loss_at_init",
        "   source   lecture: sanity checks, loss at chance",
        "WARN  Nothing failed; 2 of 11 checks deserve a look.",
        str(tmp_path / "report.html"),
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


@pytest.mark.parametrize("width", [80, 40, 12])
@pytest.mark.parametrize(
    "report", [healthy_report(), failed_report(), diagnosed_report(), healthy_report(HOSTILE)]
)
def test_no_line_is_wider_than_the_terminal_but_the_path(report, width, tmp_path):
    text, _, path = printed(report, tmp_path, width=width).partition("report  ")
    assert max(map(len, text.splitlines())) <= width
    assert path.splitlines()[0] == str(tmp_path / "report.html")


def test_80_columns_cut_no_word_of_the_remarks(tmp_path, healthy):
    text = " ".join(printed(healthy, tmp_path).split())
    assert "init.kind: kaiming_normal for instance." in text


def test_a_cause_says_what_to_change_and_the_last_line_tries_it(tmp_path):
    report, config = diagnosed_report(), tmp_path / "config.yaml"
    config.touch()
    text = printed(report, tmp_path)
    changes = "regularization.dropout=0.2 '~regularization.dropblock'"
    assert f"   change    {changes}" in text
    assert "   look at   net.py:12: self.drop = nn.Dropout(0.95)" in text
    assert "   explains  lr_probe/lr_band" in text
    assert text.endswith(f"try     nnrecipe run {config} {changes}\n")
    assert "try  " not in printed(report, None)
    assert "most likely cause\n" in text


def test_advice_stands_with_the_cause_if_there_is_one(tmp_path):
    text = printed(diagnosed_report(), tmp_path)
    assert text.count("Set regularization.dropout: 0.2;") == 1
    assert "Raise optimizer.lr" not in text
    assert "advice    Draw the rare ones more often." in text


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_printed_as_they_are(words, tmp_path):
    sick = finding(
        words, Verdict.FAIL, words, words, cause=Cause.LABEL_NOISE, confidence=0.5, advice=words
    )
    report = Report.of(words, [stage(words, sick), stage("next")], {words: words})
    text = printed(report, tmp_path, width=120)
    assert "\x1b" not in text
    assert text.count(" ".join(words.replace("\x1b", " ").split())) >= 4


def test_colour_is_for_terminals_that_want_it(tmp_path, monkeypatch, failed):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;31m" in printed(failed, tmp_path, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in printed(failed, tmp_path, force_terminal=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_standard_output_will_do(encoding, tmp_path):
    code = (
        "from pathlib import Path; from report_samples import *; from nnrecipe.report import *\n"
        "report = Report.of('ünï ✓', [stage('données ✓', finding('x' * 200))], {'µ': 1.0})\n"
        "terminal_progress().end(report.stages[0]); print_report(report, Path('run'))"
    )
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True
    )
    text = ran.stdout.decode(encoding)
    assert "All 1 check passed." in text
    assert ("données ✓" in text) is (encoding == "utf-8")


def test_what_was_found_is_what_stands_out():
    fine, odd = finding("a", measured="1"), finding("b", Verdict.WARN, "2")
    assert found(stage("x", fine, odd)) == "b: 2"
    assert found(stage("x", fine, fine)) == "1; 1"
    assert found(stage("x", fine, fine, fine)) == "3 checks passed"
    assert found(stage("x")) == ""
