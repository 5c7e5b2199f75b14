"""The benchmark of training: every contender runs, and comes to what the plain loop comes to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.contenders import BASE, contenders
from bench.measure import Ratios
from bench.networks import make_network
from bench.plain import Batches
from bench.subject import SUBJECTS, make_work

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_training"
MAY_BE_ABSENT = {"fastai", "nnrecipe bf16", "nnrecipe auto"}


def bench_training(*words: str) -> str:
    call = [sys.executable, str(SCRIPT), "--smoke", *words]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("case", SUBJECTS)
def test_all_contenders_of_a_case_train_alike(case: str) -> None:
    rows: list[dict[str, Any]] = json.loads(bench_training("--case", case, "--json"))["rows"]
    losses = {row["name"]: row["loss"] for row in rows}
    assert set(contenders(case, torch.device("cpu"))) - MAY_BE_ABSENT <= set(losses)
    assert all(math.isfinite(loss) and loss < math.log(10) for loss in losses.values())
    assert losses["nnrecipe fp32"] == pytest.approx(losses[BASE], rel=0.25)
    assert all(row["step"] > 0 for row in rows)


@pytest.mark.slow
def test_memory_is_that_of_a_process_each() -> None:
    table = bench_training("--case", "mlp", "--only", "nnrecipe fp32", "--memory", "--markdown")
    peaks = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    assert {BASE, "nnrecipe fp32"} <= set(peaks)
    assert peaks[BASE].endswith("| 1.00 |")


@pytest.mark.slow
def test_a_search_is_measured_beside_what_people_write() -> None:
    script = str(SCRIPT.with_name("bench_search"))
    words = ["--smoke", "--only", "vectorized", "bare loop", "Optuna"]
    table = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert table.returncode == 0, table.stderr
    assert all(name in table.stdout for name in ("vectorized", "bare loop", "Optuna"))


@pytest.mark.slow
def test_predictions_are_measured_beside_a_bare_loop() -> None:
    script = str(SCRIPT.with_name("bench_predict"))
    table = subprocess.run([sys.executable, script, "--smoke"], capture_output=True, text=True)
    assert table.returncode == 0, table.stderr
    assert all(name in table.stdout for name in ("nnrecipe predict", "bare loop", "200 images"))


def test_batches_of_the_bare_loop_hold_every_picture_once_cropped_and_mirrored() -> None:
    subject = SUBJECTS["lenet5"]
    work = make_work(subject, steps=2, device=torch.device("cpu"), made_up=True)
    inputs, targets = map(torch.cat, zip(*Batches(work), strict=True))
    assert inputs.shape == (256, 1, 28, 28)
    assert torch.equal(targets.bincount(), work.labels.bincount())
    black = work.normalized(torch.zeros(1, dtype=torch.uint8))
    assert (inputs[:, :, 2:-2, 2:-2] > black).float().mean() > 0.9


@pytest.mark.parametrize("case", SUBJECTS)
def test_networks_are_the_presets_own_by_the_number_of_parameters(case: str) -> None:
    counts = {"lenet5": 61_706, "mlp": 154_160, "resnet20": 269_722, "resnet18": 11_181_642}
    assert sum(p.numel() for p in make_network(case).parameters()) == counts[case]


def test_quartiles_lie_around_the_median() -> None:
    ratios = Ratios.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (ratios.low, ratios.middle, ratios.high) == (2.0, 3.0, 4.0)
    assert Ratios.of([2.0]).low == 2.0
