import json
import math
import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnrecipe.core.logbook import Logbook, NoTracking, TensorBoardTracking, Tracking
from nnrecipe.core.spec import members


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def board(folder, run=""):
    loaded = EventAccumulator(str(folder / "tensorboard" / run))
    return loaded.Reload()


def points(folder, tag, run=""):
    return [(event.step, event.value) for event in board(folder, run).Scalars(tag)]


@pytest.mark.parametrize("member", members(Tracking))
def test_every_tracking_writes_the_same_lines_at_once(member, tmp_path):
    with Logbook(tmp_path, member()) as logbook:
        logbook.scalars(3, {"epoch": 1, "train_loss": 0.5, "update_ratio": {"fc1": 1e-3}})
        written = lines(tmp_path)
        logbook.together("loss", 3, {"train": 0.5})
        logbook.text("report", "# fine")
        logbook.image("inputs", torch.rand(1, 4, 4))
    expected = {"step": 3, "epoch": 1, "train_loss": 0.5, "update_ratio": {"fc1": 1e-3}}
    assert written == [expected]
    assert (tmp_path / "tensorboard").exists() is (member is not NoTracking)


def test_tensorboard_is_what_yaml_gets_by_default():
    assert TypeAdapter(Tracking).validate_python({}) == TensorBoardTracking()
    assert TypeAdapter(Tracking).validate_python("none") == NoTracking()


def test_train_and_validation_share_a_chart(tmp_path):
    with Logbook(tmp_path, TensorBoardTracking()) as logbook:
        for step in range(3):
            figures = {"epoch": step, "train_loss": 1.0 / (step + 1), "val_loss": 2.0, "lr": 0.5}
            logbook.scalars(step, figures)
        logbook.together("recall", 7, {"cat": 0.25, "dog": 0.75})
    assert points(tmp_path, "loss", "train") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert points(tmp_path, "loss", "val") == [(0, 2.0), (1, 2.0), (2, 2.0)]
    assert points(tmp_path, "recall", "dog") == [(7, 0.75)]
    assert board(tmp_path).Tags()["scalars"] == ["lr"]  # epoch is no chart


def test_layers_have_charts_of_their_own(tmp_path):
    with Logbook(tmp_path, TensorBoardTracking()) as logbook:
        logbook.scalars(5, {"update_ratio": {"fc1": 0.25, "fc2": 0.5}})
    assert points(tmp_path, "update_ratio/fc1") == [(5, 0.25)]
    assert points(tmp_path, "update_ratio/fc2") == [(5, 0.5)]


def test_non_finite_figures_are_words_in_strict_json(tmp_path):
    with Logbook(tmp_path, TensorBoardTracking()) as logbook:
        logbook.scalars(0, {"loss": math.nan, "ratio": {"fc1": math.inf}})
    assert lines(tmp_path) == [{"step": 0, "loss": "nan", "ratio": {"fc1": "inf"}}]
    assert math.isnan(points(tmp_path, "loss")[0][1])


def test_texts_and_pictures_reach_tensorboard(tmp_path):
    with Logbook(tmp_path, TensorBoardTracking()) as logbook:
        logbook.text("report", "# fine", step=2)
        logbook.image("inputs", torch.rand(3, 4, 6))
    found = board(tmp_path)
    assert (found.Images("inputs")[0].width, found.Images("inputs")[0].height) == (6, 4)
    assert found.Tensors("report/text_summary")[0].tensor_proto.string_val[0] == b"# fine"


def test_a_resumed_run_appends_after_dropping_a_torn_line(tmp_path):
    with Logbook(tmp_path, NoTracking()) as logbook:
        logbook.scalars(0, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
    with Logbook(tmp_path, NoTracking()) as logbook:
        logbook.scalars(2, {"loss": 0.5})
    assert [line["step"] for line in lines(tmp_path)] == [0, 2]


def test_importing_the_logbook_loads_neither_torch_nor_tensorboard():
    code = "import sys, nnrecipe.core.logbook; print({'torch', 'tensorboard'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
