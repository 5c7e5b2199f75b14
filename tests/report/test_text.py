from html import unescape

import pytest
from markdown import markdown as to_html
from report_samples import HOSTILE, diagnosed_report, finding, stage

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import markdown
from nnrecipe.report.meanings import MEANINGS
from nnrecipe.report.text import escape


def test_the_page_has_verdict_causes_stages_findings_and_metrics(healthy):
    text = markdown(healthy)
    assert text.startswith("# quickstart: warn\n")
    assert "### 1. initialization too large, 60 % sure\n" in text
    assert MEANINGS[Cause.INIT_TOO_LARGE] in text
    assert "| evaluate | pass | 0.12 s |" in text
    assert escape("sanity/loss_at_init") in text
    assert "| 97.22 % |" in text


def test_a_cause_has_its_remedy_and_what_it_explains():
    html = to_html(markdown(diagnosed_report()), extensions=["tables"])
    for words in (
        "<strong>What to do:</strong> Set regularization.dropout: 0.2;",
        "<code>regularization.dropout=0.2 '~regularization.dropblock'</code>",
        "<code>net.py:12: self.drop = nn.Dropout(0.95)</code>",
        "<strong>Seen by:</strong> diagnosis/experiment_dropout_too_high<",
        "<strong>Explains:</strong> lr_probe/lr_band<",
        "<strong>Source:</strong> Srivastava et al. 2014, section 7.3",
        "<td>see cause 1, dropout too high</td>",
        "<td>Draw the rare ones more often.</td>",
    ):
        assert words in unescape(html)
    assert "Raise optimizer.lr" not in html  # a symptom's advice would mislead


@pytest.mark.parametrize("words", [*HOSTILE, "</code><b>x", "`x`", "**b**"])
def test_hostile_code_stays_code(words):
    sick = finding("x", Verdict.FAIL, cause=Cause.LEAKAGE, change=(words,), where=words)
    html = to_html(markdown(Report.of("x", [stage("y", sick)], {})), extensions=["tables"])
    assert html.count("<code>") == html.count("</code>") == 2
    for tag in ("<script", "<b>", "<em"):
        assert tag not in html
    assert html.count("<strong>") == 3  # config, code, seen by


def test_what_is_not_there_has_no_heading():
    text = markdown(Report.of("x", (), {}))
    assert text == "# x: pass\n\nAll 0 checks passed.\n"


@pytest.mark.parametrize("words", [*HOSTILE, "[a](javascript:alert(1))", "`x`", "**b**", "# h"])
def test_hostile_words_stay_text(words):
    sick = finding(
        words, Verdict.FAIL, words, words, cause=Cause.LABEL_NOISE, confidence=0.5, advice=words
    )
    report = Report.of(words, [stage(words, sick)], {words: words})
    html = to_html(markdown(report), extensions=["tables"])
    for tag in ("<script", "<a ", "<code", "<em", 'javascript:alert(1)"'):
        assert tag not in html
    rows = [row.count("<td") for row in html.split("<tr>")[1:] if "<td" in row]
    assert rows == [3, 5, 2]  # stages, findings, metrics: no word makes a cell of its own
