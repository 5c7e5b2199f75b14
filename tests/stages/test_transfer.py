"""The transfer stage, from half of the digits to the other half, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nnrecipe.cli import main
from nnrecipe.stages.transfer import _ahead

CONFIG = """
data: {kind: digits, classes: ['0', '1', '2', '3', '4']}
architecture: {kind: resnet, depth: 8, width: 0.5}
optimizer: {kind: sgd, lr: 0.05, momentum: 0.9}
training: {epochs: 2, batch_size: 32, compile: off, threads: 1}
stages: [data, transfer, train, evaluate]
tracking: none
name: small
"""
OTHERS = [
    "data.classes=['5','6','7','8','9']",
    "data.limit=100",
    "architecture.weights=first/checkpoints/best.pt",
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("small.yaml").write_text(CONFIG)
        assert main(["run", "small.yaml", "--output", "first"]) in (0, 1)
    return folder


@pytest.fixture(autouse=True)
def in_folder(pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pretrained)


def run(folder: str, *words: str) -> dict[str, Any]:
    assert main(["run", "small.yaml", *OTHERS, *words, "--output", folder]) in (0, 1)
    found: dict[str, Any] = json.loads(Path(folder, "report.json").read_text())
    return found


def facts(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = (part["facts"] for part in report["stages"] if part["stage"] == "transfer")
    return dict(found)


def saved(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(Path(folder, "checkpoints", "best.pt"), weights_only=True)
    return found


def test_auto_trains_what_came_out_ahead() -> None:
    report = run("auto", "transfer.strategy=auto", "stages.transfer.trial=30")
    found = facts(report)
    assert found["amount"] == "little"
    assert found["examples_for_each_output"] == 20
    assert next(probe["depth"] for probe in found["probes"]) == "inputs"
    assert found["probes"][-1]["accuracy"] > 0.5
    assert found["feature_distance"] > 0
    assert found["replaced"] == ["fc.bias", "fc.weight"]
    assert set(found["trials"]) == {"linear_probe", "last_n", "stages", "full"}
    assert found["trials"][found["strategy"]] == max(found["trials"].values())
    assert saved("auto")["recipe"]["transfer"]["strategy"] == found["strategy"]
    again = run("declared", f"transfer.strategy={found['strategy']}")
    assert again["metrics"] == report["metrics"]  # the measuring leaves no trace


@pytest.mark.parametrize("strategy", ["linear_probe", "last_n", "stages", "full"])
def test_a_strategy_changes_what_it_trains(strategy: str) -> None:
    report = run(strategy, f"transfer.strategy={strategy}", "--stages", "train,evaluate")
    assert [stage["stage"] for stage in report["stages"]] == ["train", "evaluate"]
    before, after = saved("first")["model"], saved(strategy)["model"]
    after = {key.removeprefix("trunk."): value for key, value in after.items()}
    moved = {key.rpartition(".")[0] for key in before if not before[key].equal(after[key])}
    body = {key.rpartition(".")[0] for key in before}
    expected = {
        "linear_probe": {"fc"},
        "last_n": {key for key in body if key.startswith(("layer3", "fc"))},
        "stages": {"fc"},
        "full": body,
    }
    assert moved == expected[strategy]


def test_settings_of_a_strategy_come_through() -> None:
    words = ["transfer.strategy=full", "transfer.unfreeze=2", "transfer.lr_decay=0.5"]
    run("gradual", *words, "--stages", "train")
    before, after = saved("first")["model"], saved("gradual")["model"]
    assert before["conv1.weight"].equal(after["conv1.weight"])  # its turn comes after 6 epochs
    assert not before["fc.weight"].equal(after["fc.weight"])


def test_the_summary_says_what_trains(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transfer.strategy=last_n", "transfer.lr_decay=0.5"]
    assert main(["summary", "small.yaml", *OTHERS, *words]) == 0
    table = capsys.readouterr().out.partition("\nparameter ")[2]
    rows = dict(line.split(maxsplit=1) for line in table.splitlines()[1:])
    assert rows["conv1.weight"].endswith("transfer: last_n")
    assert "frozen" in rows["conv1.weight"]
    assert "lr x 0.5" in rows["layer3.0.conv1.weight"]
    assert "lr x 1" in rows["fc.weight"]
    assert main(["summary", "small.yaml", *OTHERS, "transfer.strategy=stages"]) == 0
    shown = capsys.readouterr().out
    assert "trunk.conv1.weight" in shown
    assert "Trainable parameters: " in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transfer.strategy=full"], "give architecture.weights"),
        (["transfer.layers=3"], "settings of a strategy"),
        (["--stages", "transfer"], "the recipe has none"),
        ([*OTHERS, "transfer.strategy=auto", "--stages", "train"], "needs transfer before train"),
        ([*OTHERS, "transfer.strategy=auto", "stages=[data,train]"], "add transfer to stages"),
        ([*OTHERS, "transfer.strategy=some"], "transfer.strategy"),
    ],
)
def test_what_can_not_be_transferred_is_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "small.yaml", *words, "--output", "none"]) == 2
    assert message in capsys.readouterr().err


def test_the_quadrant_decides_where_trials_do_not() -> None:
    assert _ahead({}, "stages") == "stages"
    assert _ahead({"full": 0.7, "stages": 0.7}, "stages") == "stages"
    assert _ahead({"full": 0.8, "stages": 0.7}, "stages") == "full"
