import re
from html.parser import HTMLParser

import pytest
from report_samples import (
    HOSTILE,
    data_stage,
    diagnosed_report,
    diagnosis_stage,
    evaluate_stage,
    finding,
    healthy_report,
    metrics_lines,
    mistakes,
    sheet,
    stage,
    write_run,
)

from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import write_html, write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects them and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(folder):
    return Page(write_html(folder).read_text(encoding="utf-8"))


def test_the_page_opens_with_the_verdict_then_causes_metrics_and_stages(run_folder):
    text = page(run_folder).text
    order = [
        "Nothing failed; 2 of 11 checks deserve a look.",
        "Most likely causes",
        "Initialization too large",
        "60 % sure",
        "The weights start so large",
        "The last layer starts too large",
        "sanity: loss at initialization",
        "Metrics",
        "97.22 %",
        "largest / smallest 1.05",
        "2.303 (ln 10)",
        "Evidence of cause 1, initialization too large",
        "Config",
        "kind: digits",
        "2.15.0",
    ]
    for words in order:
        assert words in text
        text = text.partition(words)[2]


def test_the_page_needs_nothing_but_itself(run_folder):
    shown = page(run_folder)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in shown.links)
    assert "script" not in {tag for tag, _ in shown.tags}
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link[1:] for link in shown.links if link.startswith("#")}
    assert anchors <= set(ids)


def test_charts_and_pictures_stand_in_their_stages(run_folder):
    text = write_html(run_folder).read_text()
    places = [text.index(f'id="stage-{place}"') for place in range(1, 7)]
    figures = [match.start() for match in re.finditer("<figure>", text)]
    counts = [
        sum(start < figure < end for figure in figures)
        for start, end in zip(places, [*places[1:], len(text)], strict=True)
    ]
    assert counts == [1, 0, 1, 1, 4, 1]  # data, sanity, overfit, lr_probe, train, evaluate
    assert 'class="coarse"' in text  # few pixels are enlarged


def test_a_cause_has_its_remedy_and_links_to_its_evidence(tmp_path):
    shown = page(write_run(tmp_path, diagnosed_report()))
    for words in (
        f"nnrecipe run {tmp_path}/config.yaml regularization.dropout=0.2 '~regularization.dropbl",
        "net.py:12: self.drop = nn.Dropout(0.95)",
        "Evidence diagnosis: experiment dropout too high skill 0.12",
        "Explains learning rate probe: learning rate band",
        "Brought about by cause 1, dropout too high",
        "Draw the rare ones more often.",
    ):
        assert words in shown.text
    assert "Raise optimizer.lr" not in shown.text  # a symptom's advice would mislead
    assert shown.text.count("Set regularization.dropout: 0.2;") == 1
    ids = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    links = {link[1:] for link in shown.links if link.startswith("#")}
    assert {"cause-1", "finding-2-1", "finding-3-1"} <= ids & links
    assert links <= ids
    assert "1 of 3 helps." in shown.text


def test_the_worst_mistakes_are_pictures_with_their_names(tmp_path):
    folder = write_run(tmp_path, healthy_report())
    facts = evaluate_stage().facts | {"worst_mistakes": list(mistakes())}
    evaluated = evaluate_stage().model_copy(update={"facts": facts})
    write_report(Report.of("x", [evaluated], {}), folder)
    text = page(folder).text
    assert "worst mistakes" in text  # a table, as there is no sheet
    assert "The worst mistakes, worst first." not in text
    (folder / "plots" / "mistakes.png").write_bytes(sheet())
    shown = page(folder)
    assert "The worst mistakes, worst first." in shown.text
    assert "0 99 % is 1" in shown.text
    pictures = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert sum("example" in picture["alt"] for picture in pictures) == 24
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)


def test_training_examples_stand_with_their_labels(tmp_path):
    seen = data_stage().model_copy(update={"facts": {"pictured": ["cat"] * 32}})
    folder = write_run(tmp_path, Report.of("x", [seen], {}))
    (folder / "plots" / "inputs.png").write_bytes(sheet(32))
    shown = page(folder)
    assert shown.text.count("cat") == 32
    assert len([tag for tag, _ in shown.tags if tag == "img"]) == 32


def test_what_passed_is_kept_short_and_what_did_not_comes_first(run_folder):
    text = write_html(run_folder).read_text()
    stage_at = text.index('id="stage-2"')
    warn, passed = (text.index(kind, stage_at) for kind in ('class="loud"', 'class="quiet"'))
    assert stage_at < warn < passed < text.index('id="stage-3"')
    assert "CS231n notes: gradient checks" in text  # said once, below


def test_a_run_that_failed_early_is_a_whole_page(tmp_path, failed):
    write_report(failed, tmp_path)
    text = page(tmp_path).text
    assert "1 of 2 checks failed, first in sanity." in text
    assert "init.kind: kaiming_normal" in text
    assert "Config" not in text
    assert "Metrics" not in text


def test_a_run_without_a_stage_is_a_whole_page(tmp_path):
    write_report(Report.of("nothing yet", (), {}), tmp_path)
    assert "All 0 checks passed." in page(tmp_path).text


def test_training_curves_of_a_killed_run_have_a_place(tmp_path):
    write_run(tmp_path, Report.of("killed", [data_stage()], {}), metrics_lines(3))
    text = page(tmp_path).text
    assert text.index("More pictures") < text.index("Loss by epoch.")


def test_without_a_report_the_user_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no report\.json"):
        write_html(tmp_path)


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_text_wherever_they_stand(words, tmp_path):
    sick = finding(
        words,
        Verdict.FAIL,
        words,
        words,
        cause=Cause.LABEL_NOISE,
        confidence=0.5,
        advice=words,
        source=words,
        change=(words,),
        where=words,
    )
    facts = {words: words, "list": [words], "table": [{words: words}], "map": {words: 1}}
    judged = evaluate_stage([words, "dog"])
    judged.facts["worst_mistakes"] = list(mistakes([words, "dog"]))
    tried = diagnosis_stage([(words, words, 0.5, words)])
    stages = [stage(words, sick, **facts), judged, tried]
    folder = write_run(tmp_path, Report.of(words, stages, {words: words}))
    (folder / "plots" / "mistakes.png").write_bytes(sheet())
    (folder / "config.yaml").write_text(words)
    (folder / "environment.json").write_text('{"device": "<script>alert(1)</script>"}')
    shown = page(folder)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert "\x1b" not in "".join(shown.words).replace(words, "")  # the config is shown as it is
    assert " ".join(words.replace("\x1b", " ").split()) in shown.text


def test_a_healthy_page_is_small(tmp_path):
    folder = write_run(tmp_path, healthy_report(), metrics_lines(100))
    assert write_html(folder).stat().st_size < 400_000
