import pytest
from markdown import markdown as to_html
from report_samples import HOSTILE, finding, stage

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import markdown
from nnrecipe.report.text import escape


def test_the_page_has_verdict_causes_stages_findings_and_metrics(healthy):
    text = markdown(healthy)
    assert text.startswith("# quickstart: warn\n")
    assert "1. **init too large** (60 % sure" in text
    assert "| evaluate | pass | 0.12 s |" in text
    assert escape("sanity/loss_at_init") in text
    assert "| 97.22 % |" in text


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
