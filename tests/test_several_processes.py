"""One model trained by two real processes, as `torchrun` starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnrecipe.cli import main
from nnrecipe.recipe import load
from nnrecipe.runner import resume_run, run_recipe

CONFIG = """
name: pair
data: {kind: digits, limit: 405}
architecture: {kind: custom, target: pair_net:make}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
scheduler: {kind: plateau, patience: 0, monitor: train_loss, threshold: 0.5}
training: {epochs: 4, batch_size: 32, average: ema, clip_norm: 1.0, monitor_every: 1, threads: 1}
stages: [train, evaluate]
tracking: none
"""
# 13 steps an epoch, of which the last has 21 examples: an odd number for two processes.
NET = """
import os
import torch
from torch import nn

class Net(nn.Sequential):
    def forward(self, inputs):
        self.calls = getattr(self, "calls", 0) + self.training
        how, place, calls = os.environ.get("FAULT", "no -1 0").split()
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        if os.environ.get("RANK") == place and self.calls > int(calls) and not again:
            if how == "kill":
                os.kill(os.getpid(), 9)
            raise ValueError("the device is on fire")
        return super().forward(inputs)

def make(inputs, num_classes):
    torch.manual_seed(0)
    return Net(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, num_classes))
"""
CLOSE = 1e-5


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("pair")
    (base / "pair_net.py").write_text(NET)
    (base / "pair.yaml").write_text(CONFIG)
    return base / "pair.yaml"


@pytest.fixture(scope="module")
def alone(config: Path) -> Path:
    """The run folder of one process."""
    loaded = load(config)
    run_recipe(loaded.recipe, output=config.parent / "alone", source=loaded.record)
    return config.parent / "alone"


def torchrun(
    config: Path, folder: Path, *, fault: str = "no -1 0", restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the config in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", str(restarts), "-m", "nnrecipe"]
    return subprocess.run(
        [*command, "run", str(config), "--output", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "FAULT": fault, "OMP_NUM_THREADS": "1"},
    )


def figures(folder: Path) -> Iterator[tuple[int, str, float]]:
    """Each loss, score and norm of the whole model, by step; no layer's own."""
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        told: dict[str, Any] = json.loads(line)
        step = told.pop("step")
        yield from ((step, name, value) for name, value in told.items() if isinstance(value, float))


def alike(one: Path, other: Path) -> None:
    pairs = list(zip(figures(one), figures(other), strict=True))
    assert len([first for first, _ in pairs if first[1] == "batch_loss"]) == 52
    for (step, name, value), second in pairs:
        assert second[:2] == (step, name)
        assert second[2] == pytest.approx(value, abs=CLOSE, rel=CLOSE), (step, name)


@pytest.mark.slow
def test_two_processes_train_as_one_does(config: Path, alone: Path, tmp_path: Path) -> None:
    done = torchrun(config, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    alike(alone, tmp_path / "two")
    assert done.stdout.count("report  ") == 1  # the first process prints
    one, two = (json.loads((f / "report.json").read_text()) for f in (alone, tmp_path / "two"))
    assert two["metrics"] == pytest.approx(one["metrics"], rel=CLOSE)
    assert two["stages"][1]["facts"]["examples"] == one["stages"][1]["facts"]["examples"]
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_failed_process_ends_the_run_with_its_own_error(
    config: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    done = torchrun(config, folder, fault="raise 1 30")
    assert done.returncode == 1
    assert "process 1: error: your own code failed" in done.stderr
    assert "ValueError: the device is on fire" in done.stderr
    assert json.loads((folder / "resume.json").read_text())["complete"] is False
    resume_run(folder)  # in one process
    alike(alone, folder)


@pytest.mark.slow
def test_torchrun_starts_it_anew_from_the_last_checkpoint(
    config: Path, alone: Path, tmp_path: Path
) -> None:
    done = torchrun(config, tmp_path / "two", fault="kill 1 30", restarts=1)
    assert done.returncode == 0, done.stderr
    assert "train goes on after epoch 2" in done.stdout
    alike(alone, tmp_path / "two")


def test_what_torchrun_can_not_start_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", str(config), "--seeds", "0,1"]) == 2
    assert "torchrun: 2 processes, and --seeds and --vary walk several runs" in (
        capsys.readouterr().err
    )
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert main(["run", str(config)]) == 2
    assert "say with --output where it is" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(["run", "nowhere.yaml", "--seeds", "x"]) == 2
    assert capsys.readouterr().err == ""  # the first process says it
