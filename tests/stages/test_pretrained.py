"""Recipes that start from the weights of another run, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nnrecipe.cli import main

CONFIG = """
data: {kind: digits, limit: 300}
architecture: {kind: mlp, widths: [16]}
optimizer: {kind: adam, lr: 1e-2}
training: {epochs: 2, batch_size: 32, compile: off, threads: 1}
stages: [data, train, evaluate]
tracking: none
name: small
"""
FIRST = "data.classes=['0','1','2','3','4']"
OTHERS = "data.classes=['5','6','7','8','9']"
START = "architecture.weights=first/checkpoints/best.pt"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)


def run(folder: str, *words: str) -> dict[str, Any]:
    assert main(["run", "small.yaml", *words, "--output", folder]) in (0, 1)
    found: dict[str, Any] = json.loads(Path(folder, "report.json").read_text())
    return found


def saved(folder: str) -> dict[str, torch.Tensor]:
    found: dict[str, Any] = torch.load(Path(folder, "checkpoints", "best.pt"), weights_only=True)
    return dict(found["model"])


def test_a_model_is_evaluated_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    first = run("first", FIRST)
    again = run("again", FIRST, START, "--stages", "evaluate")
    assert again["metrics"]["test_accuracy"] == first["metrics"]["test_accuracy"]
    assert all(torch.equal(a, saved("again")[key]) for key, a in saved("first").items())
    words = ["run", "small.yaml", OTHERS, START, "--stages", "evaluate", "--output", "other"]
    assert main(words) == 2
    assert "head (fc2.bias, fc2.weight) is new" in capsys.readouterr().err


def test_training_starts_from_the_given_weights() -> None:
    run("first", FIRST)
    run("other", OTHERS, START, "optimizer.lr=1e-12", "optimizer.kind=sgd", "training.epochs=1")
    started, trained = saved("other"), saved("first")
    moved = {key for key in trained if not torch.allclose(started[key], trained[key])}
    assert moved
    assert all("fc2" in key for key in moved)


@pytest.mark.parametrize("init", ["init=zeros", "init=normal"])
def test_pretrained_weights_win_over_init(init: str) -> None:
    run("first", FIRST)
    run("again", FIRST, START, init, "--stages", "evaluate")
    assert all(torch.equal(a, saved("again")[key]) for key, a in saved("first").items())
