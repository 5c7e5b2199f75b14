"""Whole runs through the Python API: the run folder, the gate, and that nothing leaks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import nnrecipe
from nnrecipe import Report
from nnrecipe.core.errors import UserError
from nnrecipe.recipe.rules import ORDER
from nnrecipe.training.checkpoint import load_checkpoint

SMALL = """
data: {kind: digits, limit: 300}
architecture: {kind: mlp, widths: [32]}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
regularization: {dropout: 0.2}
training: {epochs: 2, batch_size: 32, monitor_every: 4}
tracking: none
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(
        folder / "checkpoints" / "last.pt", device=torch.device("cpu")
    )["model"]
    return state


def _same(first: Path, second: Path) -> bool:
    pairs = zip(_weights(first).values(), _weights(second).values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_run_folder_holds_what_it_promises(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    report = nnrecipe.run(config, overrides=["tracking=tensorboard"], output=folder)
    assert report.exit_code == 0
    made = {path.name for path in folder.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "report.json",
        "report.html",
        "metrics.jsonl",
        "splits.json",
        "checkpoints",
        "plots",
    } <= made
    assert list(folder.rglob("events.out.tfevents.*"))
    saved = json.loads((folder / "report.json").read_text())
    assert saved["version"] == 1
    assert saved["name"] == "small"
    assert saved["verdict"] == report.verdict
    walked = [stage["stage"] for stage in saved["stages"]]
    assert walked == [kind for kind in ORDER if kind not in ("search", "ensemble", "transfer")]
    assert set(saved["metrics"]) >= {"train_loss", "val_accuracy", "test_accuracy"}
    assert Report.model_validate(saved) == report
    splits = json.loads((folder / "splits.json").read_text())
    assert len(splits["train"]) == 300
    assert not set(splits["train"]) & set(splits["val"])
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    assert set(best["model"]) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert "mean" in best["preprocessing"]


def test_the_resolved_config_gives_the_same_run(config: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    nnrecipe.run(config, output=first, stages=["train"])
    nnrecipe.run(first / "config.yaml", output=second, stages=["train"])
    assert _same(first, second)


def test_stages_before_train_leave_no_trace(config: Path, tmp_path: Path) -> None:
    alone, after = tmp_path / "alone", tmp_path / "after"
    nnrecipe.run(config, output=alone, stages=["train"])
    nnrecipe.run(config, output=after, stages=["data", "sanity", "overfit", "lr_probe", "train"])
    assert _same(alone, after)
    first, second = (
        [line for line in (f / "metrics.jsonl").read_text().splitlines() if "seconds" not in line]
        for f in (alone, after)
    )
    assert first == second


def test_monitors_leave_no_trace_and_seeds_do(config: Path, tmp_path: Path) -> None:
    for name, change in {"a": "seed=0", "b": "training.monitor_every=1", "c": "seed=1"}.items():
        nnrecipe.run(config, overrides=[change], output=tmp_path / name, stages=["train"])
    assert _same(tmp_path / "a", tmp_path / "b")
    assert not _same(tmp_path / "a", tmp_path / "c")


def test_the_callers_generators_are_left_alone(config: Path, tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index, union-attr]
    nnrecipe.run(config, output=tmp_path / "out", stages=["data", "train"])
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index, union-attr]
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_a_failed_gate_stops_before_training(config: Path, tmp_path: Path) -> None:
    hopeless = ["optimizer.lr=1e9", "~optimizer.momentum"]
    stopped = nnrecipe.run(config, overrides=hopeless, output=tmp_path / "stopped")
    assert stopped.exit_code == 1
    assert [stage.stage for stage in stopped.stages][-2:] == ["lr_probe", "diagnosis"]
    assert stopped.diagnosis[0].cause == "lr_too_high"
    assert (tmp_path / "stopped" / "report.html").exists()
    going = nnrecipe.run(
        config,
        overrides=hopeless,
        output=tmp_path / "going",
        keep_going=True,
        stages=["lr_probe", "train"],
    )
    assert [stage.stage for stage in going.stages] == ["lr_probe", "train"]
    assert going.exit_code == 1


def test_auto_takes_the_probes_rate(config: Path, tmp_path: Path) -> None:
    report = nnrecipe.run(config, overrides=["optimizer.lr=auto"], output=tmp_path / "out")
    suggested = report.stage("lr_probe").facts["suggested"]
    assert report.stage("train").facts["learning_rate"] == suggested
    assert report.exit_code == 0


def test_frozen_parameters_stay_and_are_no_accident(config: Path, tmp_path: Path) -> None:
    changes = ["transfer.freeze=[fc1]", "optimizer.weight_decay=0.1", "regularization.l1=1e-3"]
    report = nnrecipe.run(
        config, overrides=changes, output=tmp_path / "out", stages=["sanity", "train"]
    )
    assert not [f for s in report.stages for f in s.findings if f.cause == "accidental_freeze"]
    nnrecipe.run(
        config, overrides=[*changes, "training.epochs=1"], output=tmp_path / "one", stages=["train"]
    )
    long, short = _weights(tmp_path / "out"), _weights(tmp_path / "one")
    assert torch.equal(long["fc1.weight"], short["fc1.weight"])
    assert not torch.equal(long["fc2.weight"], short["fc2.weight"])


def test_a_freeze_that_matches_nothing_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"transfer\.freeze"):
        nnrecipe.run(config, overrides=["transfer.freeze=[backbone]"], output=tmp_path / "out")


def test_a_folder_with_a_run_is_not_written_over(config: Path, tmp_path: Path) -> None:
    nnrecipe.run(config, output=tmp_path / "out", stages=["data"])
    before = (tmp_path / "out" / "report.json").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        nnrecipe.run(config, output=tmp_path / "out", stages=["data"])
    assert (tmp_path / "out" / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("stages", "change", "message"),
    [
        (["trian"], "seed=0", "trian"),
        (["train"], "optimizer.lr=auto", "lr_probe"),
        (["evaluate"], "seed=0", "add the train stage"),
    ],
)
def test_stages_that_cannot_be_walked(
    stages: list[str], change: str, message: str, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        nnrecipe.run(config, overrides=[change], stages=stages, output=tmp_path / "out")


def test_an_interrupted_run_keeps_its_finished_stages(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnrecipe.stages.train import TrainStage

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainStage, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        nnrecipe.run(config, output=tmp_path / "out", stages=["data", "sanity", "train"])
    saved = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [stage["stage"] for stage in saved["stages"]] == ["data", "sanity"]


def test_the_config_is_kept_as_it_was_given(config: Path, tmp_path: Path) -> None:
    nnrecipe.run(config, overrides=["seed=5"], output=tmp_path / "out", stages=["data"])
    resolved = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert resolved["seed"] == 5
    assert resolved["init"]["kind"] == "kaiming_normal"
    assert resolved["norm"]["kind"] == "none"
