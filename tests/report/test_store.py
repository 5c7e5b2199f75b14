import json
import math

import pytest
from report_samples import stage

from nnrecipe.core.errors import UserError
from nnrecipe.core.report import Report
from nnrecipe.report import read_metrics, read_report, write_report
from nnrecipe.report.store import replace_file


def test_a_report_comes_back_as_it_was_written(tmp_path, healthy, failed):
    for report in (healthy, failed):
        path = write_report(report, tmp_path / "run")
        assert path == tmp_path / "run" / "report.json"
        assert read_report(tmp_path / "run") == report
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["report.json"]


def test_the_file_is_strict_json_of_version_1(tmp_path):
    report = Report.of("run", [stage("train", loss=math.nan)], {"train_loss": math.inf})
    text = write_report(report, tmp_path).read_text()
    content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert content["version"] == 1
    assert content["stages"][0]["facts"] == {"loss": "nan"}
    assert content["metrics"] == {"train_loss": "inf"}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "report.json"
    replace_file(path, "old")
    with pytest.raises(TypeError):
        replace_file(path, None)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no report.json"),
        ("{", "not JSON"),
        ("[1]", "version is None"),
        ('{"version": 2}', "version is 2"),
        ('{"version": 1, "name": "x"}', "verdict: Field required"),
    ],
)
def test_what_is_no_report_is_told_to_the_user(content, message, tmp_path):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_report(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_metrics_are_read_up_to_a_torn_last_line(tmp_path):
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "loss": "nan"}\n\n{"step": 1}\n{"st')
    assert read_metrics(tmp_path) == [{"step": 0, "loss": "nan"}, {"step": 1}]


def test_broken_metrics_are_told_to_the_user(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("step 0\n")
    with pytest.raises(UserError, match="not JSON lines"):
        read_metrics(tmp_path)
