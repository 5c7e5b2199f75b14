"""The ensemble stage from the command line: members and snapshots of small nets on the digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nnrecipe.cli import main
from nnrecipe.core.findings import Verdict
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.recipe import load_recipe
from nnrecipe.stages.ensemble import _judge_diversity, _judge_gain
from nnrecipe.training.agreement import Agreement
from nnrecipe.training.ensembles import Ensemble

CONFIG = """
data: {kind: digits, limit: 400}
architecture: {kind: mlp, widths: [16]}
regularization: {dropout: 0.1}
optimizer: {kind: adam, lr: 1e-2}
training: {epochs: 2, batch_size: 32, compile: off, threads: 1}
stages: [data, train, ensemble, evaluate]
ensemble: {kind: members, size: 2}
tracking: none
name: small
"""
CYCLES = [
    "ensemble.kind=snapshots",
    "scheduler={kind: cosine_restarts, period: 1 epoch, period_factor: 1}",
]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)


def _report(folder: str, *changes: str) -> dict[str, Any]:
    assert main(["run", "small.yaml", *changes, "--output", folder]) == 0
    found: dict[str, Any] = json.loads(Path(folder, "report.json").read_text())
    return found


def _saved(folder: str, name: str = "ensemble") -> dict[str, Any]:
    path = Path(folder, "checkpoints", f"{name}.pt")
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    return saved


def _facts(report: dict[str, Any], stage: str) -> dict[str, Any]:
    (found,) = (part["facts"] for part in report["stages"] if part["stage"] == stage)
    return dict(found)


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_members_are_trained_apart_and_averaged() -> None:
    report = _report("out")
    saved, best = _saved("out"), _saved("out", "best")
    first, second = saved["members"]
    assert _same(first, best["model"])
    assert not _same(first, second)
    assert set(saved) >= {"average", "preprocessing", "classes", "input_shape", "recipe"}
    rows = {row["model"]: row for row in _facts(report, "ensemble")["models"]}
    assert list(rows) == ["member 1", "member 2", "mean of these", "their average"]
    assert rows["member 1"]["accuracy"] == pytest.approx(report["metrics"]["val_accuracy"])
    mean = (rows["member 1"]["nll"] + rows["member 2"]["nll"]) / 2
    assert rows["mean of these"]["nll"] == pytest.approx(mean)
    assert rows["their average"]["nll"] < mean  # Jensen: for probabilities it always is
    on_test = {row["model"]: row for row in _facts(report, "evaluate")["ensemble"]}
    assert on_test["member 1"]["accuracy"] == pytest.approx(report["metrics"]["test_accuracy"])
    assert report["metrics"]["ensemble_test_accuracy"] == on_test["their average"]["accuracy"]
    assert "their average" in Path("out/report.html").read_text()


def test_two_runs_are_the_same_bit_for_bit() -> None:
    one, other = _report("one"), _report("other")
    assert one["metrics"] == other["metrics"]
    pairs = zip(_saved("one")["members"], _saved("other")["members"], strict=True)
    assert all(_same(*pair) for pair in pairs)


def test_the_file_is_enough_to_predict_with(capsys: pytest.CaptureFixture[str]) -> None:
    report = _report("out", "ensemble.average=logits")
    saved = _saved("out")
    recipe = load_recipe(Path("small.yaml"))
    data = recipe.data.build(device=torch.device("cpu"), seed=0, workers=0)
    model = recipe.architecture.build((1, 8, 8), OutputSpec(10), hidden=recipe.hidden)
    ensemble = Ensemble.of_states(
        model, saved["members"], task=saved["task"], average=saved["average"]
    ).eval()
    hits = [(ensemble(x).argmax(1) == y).float() for x, y in data.batches(data.test, 100)]
    accuracy = float(torch.cat(hits).mean())
    assert accuracy == pytest.approx(report["metrics"]["ensemble_test_accuracy"])


@pytest.mark.parametrize(
    ("average", "last"), [("none", "best epoch"), ("ema", "weight average (ema)")]
)
def test_snapshots_are_one_trainings_states_at_the_cycles_ends(average: str, last: str) -> None:
    report = _report("out", *CYCLES, f"training.average={average}")
    members = _saved("out")["members"]
    kept = [_saved("out", f"snapshot-{number}") for number in (1, 2)]
    assert [snapshot["epoch"] for snapshot in kept] == [1, 2]
    assert all(_same(one["model"], other) for one, other in zip(kept, members, strict=True))
    trained = _saved("out", "last")
    assert _same(members[1], trained.get("trained_model", trained["model"]))
    rows = [row["model"] for row in _facts(report, "ensemble")["models"]]
    assert rows == ["snapshot 1", "snapshot 2", "mean of these", "their average", last]


@pytest.mark.parametrize(
    ("preset", "figures"),
    [
        ("digits-ink", {"r2", "mae", "rmse"}),
        ("digits-traits", {"accuracy", "f1", "exact_match", "nll", "ece"}),
    ],
)
def test_values_and_labels_are_averaged_too(preset: str, figures: set[str]) -> None:
    short = ["data.limit=300", "training.epochs=2", "stages=[train, ensemble, evaluate]"]
    changes = [*short, "ensemble.kind=members", "ensemble.size=2", "training.compile=off"]
    assert main(["run", preset, *changes, "--output", "out", "--keep-going"]) in (0, 1)
    report = json.loads(Path("out/report.json").read_text())
    for stage, rows in (("ensemble", "models"), ("evaluate", "ensemble")):
        found = {row.pop("model"): row for row in _facts(report, stage)[rows]}
        assert all(set(row) == figures for row in found.values())
        assert set(found) == {"member 1", "member 2", "mean of these", "their average"}
    assert figures <= {name.removeprefix("ensemble_test_") for name in report["metrics"]}


def test_snapshots_change_nothing_in_the_training() -> None:
    _report("with", *CYCLES)
    _report("without", CYCLES[1], "ensemble=none")
    assert _same(_saved("with", "last")["model"], _saved("without", "last")["model"])
    assert not Path("without/checkpoints/ensemble.pt").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["ensemble=snapshots"], "ensemble.kind: snapshots are taken where a cycle ends"),
        ([*CYCLES, "ensemble.size=3"], "ensemble.size: 3 snapshots of 2 whole cycles"),
        ([*CYCLES, "scheduler.period=0.7 epochs"], "scheduler.kind: a cycle of cosine_restarts"),
        ([*CYCLES, "scheduler.period=3"], "scheduler.kind: a cycle of cosine_restarts"),
        ([*CYCLES, "regularization.early_stopping.patience=1"], "regularization.early_stopping: "),
        (["stages=[data, train]"], "ensemble.kind: members are made in the ensemble stage"),
        (["ensemble.size=1"], "ensemble.size: "),
        (["ensemble.average=votes"], "ensemble.average: "),
        (["ensemble=none", "--stages", "ensemble"], "--stages: ensemble: the recipe has none"),
    ],
)
def test_what_cannot_be_an_ensemble_is_told(
    changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "small.yaml", *changes, "--output", "out"]) == 2
    told = capsys.readouterr().err
    assert message in " ".join(told.split())
    assert "Traceback" not in told


def test_members_of_a_lost_training_are_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    lost = ["optimizer={kind: sgd, lr: 1e20}", "--keep-going", "--output", "out"]
    assert main(["run", "small.yaml", *lost]) == 1
    report = json.loads(Path("out/report.json").read_text())
    (stage,) = (stage for stage in report["stages"] if stage["stage"] == "ensemble")
    assert [finding["check"] for finding in stage["findings"]] == ["ensemble_members"]
    assert stage["verdict"] == "fail"


def test_a_worse_average_and_members_alike_are_warnings() -> None:
    targets = torch.tensor([0, 0, 0, 1])
    said = 5 * torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1]), 2).float()
    found = Agreement(torch.stack([said, said]), said.flip(1), targets, OutputSpec(2))
    assert _judge_gain(found, "val").verdict is Verdict.WARN
    assert _judge_diversity(found).verdict is Verdict.WARN
    assert _judge_gain(found, "val").advice
    assert _judge_diversity(found).advice
