"""The search stage from the command line: rounds, engines, resumption, what it says and keeps."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nnrecipe.cli import main
from nnrecipe.core.errors import RecipeError
from nnrecipe.data import DataBundle
from nnrecipe.recipe import load_recipe
from nnrecipe.training.search import cohort

CONFIG = """
data: {kind: digits, limit: 400}
architecture: {kind: mlp, widths: [16]}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
training: {epochs: 3, batch_size: 32, compile: off, threads: 1}
search:
  kind: random
  space:
    optimizer.lr: {kind: log_uniform, low: 1e-6, high: 100}
    regularization.l2: {kind: log_uniform, low: 1e-6, high: 1e-2, name: reg, factor: 0.5}
  rounds: [{trials: 8, epochs: 2}, {trials: 6, epochs: 2}]
  retrain: 2
stages: [data, search, train, evaluate]
tracking: none
name: small
"""


TAME = ["search.space.optimizer.lr.low=1e-3", "search.space.optimizer.lr.high=0.5"]
"""Rates at which every trial comes to its end."""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)


def _run(folder: str, *changes: str) -> dict[str, Any]:
    assert main(["run", "small.yaml", *changes, "--output", folder]) == 0
    return _facts(folder)


def _facts(folder: str) -> dict[str, Any]:
    report = json.loads(Path(folder, "report.json").read_text())
    (stage,) = (part for part in report["stages"] if part["stage"] == "search")
    return dict(stage["facts"])


def _scores(facts: dict[str, Any]) -> list[float | None]:
    rows = sorted(facts["all_trials"], key=lambda row: row["trial"])
    return [row["val_accuracy"] for row in rows]


def test_a_search_from_coarse_to_fine_and_what_it_leaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = _run("out", "tracking=tensorboard")
    said = capsys.readouterr().out
    line = r"val_acc: 0\.\d{6}, lr: \d\.\d{6}e-\d\d, reg: \d\.\d{6}e-\d\d, \(\d / 8\)"
    assert re.search(line, said)
    assert re.search(r"optimizer\.lr: 1e-06 \.\.\. 100 -> ", said)
    assert facts["trials"] == facts["of"] == 14
    assert {"finished", "exploded", "stalled"} >= set(facts["ended"])
    assert facts["ended"]["exploded"] >= 1  # a rate near 100
    best = facts["best"][0]
    assert best["val_accuracy"] == max(s for s in _scores(facts) if s is not None) > 0.8
    assert [row["ended"] for row in facts["retrained"]] == ["finished", "finished"]
    assert facts["retrained_mean"] == pytest.approx(
        sum(row["val_accuracy"] for row in facts["retrained"]) / 2
    )
    fine = [row["lr"] for row in facts["all_trials"] if row["round"] == 2]
    coarse = [row["lr"] for row in facts["all_trials"] if row["round"] == 1]
    assert max(fine) / min(fine) < max(coarse) / min(coarse)
    boards = Path("out/tensorboard/trials")
    assert sorted(int(folder.name) for folder in boards.iterdir()) == list(range(1, 15))
    page = Path("out/report.html").read_text()
    assert all(f'id="search_{name}-' in page for name in ("plane", "parallel"))
    checkpoint = torch.load("out/checkpoints/best.pt", weights_only=True)
    assert checkpoint["recipe"]["optimizer"]["lr"] == best["lr"]
    assert checkpoint["recipe"]["regularization"]["l2"] == pytest.approx(best["reg"] / 2)
    kept = yaml.safe_load(Path("out/best.yaml").read_text())
    assert "search" not in kept
    assert load_recipe("out/best.yaml").optimizer.lr == best["lr"]


def test_the_same_seed_gives_the_same_search_and_another_another() -> None:
    first, again = _run("one"), _run("two")
    assert first == again
    assert _scores(first) != _scores(_run("three", "seed=1"))


def test_a_search_that_was_cut_off_repeats_no_whole_wave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cohort, "STACKED", 3)
    whole = _run("whole")
    trained: list[int] = []
    train, result = cohort._train, cohort.Replica.result

    def count(wave: Sequence[cohort.Replica], *given: Any, **named: Any) -> None:
        trained.extend(replica.job.trial for replica in wave)
        train(wave, *given, **named)

    told: list[int] = []

    def cut(self: cohort.Replica) -> Any:
        if len(told) == 5:
            raise KeyboardInterrupt
        told.append(self.job.trial)
        return result(self)

    with monkeypatch.context() as patch:
        patch.setattr(cohort.Replica, "result", cut)
        assert main(["run", "small.yaml", "--output", "cut"]) == 130
    monkeypatch.setattr(cohort, "_train", count)
    assert main(["resume", "cut"]) == 0
    assert trained[:5] == [3, 4, 5, 6, 7]  # the second wave was being told: it is repeated whole
    assert _facts("cut") == whole


def test_the_search_never_sees_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = DataBundle.batches

    def watched(self: DataBundle, split: Any, *rest: Any, **named: Any) -> Any:
        assert split is not self.test
        return batches(self, split, *rest, **named)

    monkeypatch.setattr(DataBundle, "batches", watched)
    _run("out", "stages=[data,search,train]")


@pytest.mark.parametrize(
    "changes",
    [
        ["search.kind=grid"],
        ["search.kind=tpe", "search.batch=4"],
        ["search.seeds=2", "search.rounds=[{trials: 3, epochs: 2}]"],
        ["search.halving={factor: 2}", "search.rounds=[{trials: 6, epochs: 4}]"],
        ["search.space={norm: {kind: choice, values: [none, batch]}}"],
        ["search.space.data.limit={kind: choice, values: [200, 400]}"],
        ["search.space.training.batch_size={kind: int, low: 16, high: 64}"],
        ["training.average=ema", "regularization.dropout=0.2", "search.retrain=0"],
        [
            "architecture=lenet5",
            "data.image_size=12",
            "data.limit=200",
            "search.rounds=[{trials: 3, epochs: 1}]",
        ],
    ],
    ids=lambda changes: changes[0].partition("=")[2] + changes[0].partition("=")[0],
)
def test_every_way_to_search_comes_to_a_winner(changes: list[str]) -> None:
    facts = _run("out", *TAME, *changes)
    assert facts["trials"] == facts["of"] or "grid" in changes[0]
    assert facts["winner"]


def test_when_the_time_is_up_no_more_trials_are_trained() -> None:
    facts = _run("out", *TAME, "search.minutes=1e-9")
    assert facts["out_of_time"]
    assert 1 <= facts["trials"] < 14


def test_an_ensemble_of_the_best_trials() -> None:
    facts = _run(
        "out", "ensemble={kind: search, size: 3}", "stages=[data,search,train,ensemble,evaluate]"
    )
    saved = torch.load("out/checkpoints/ensemble.pt", weights_only=True)
    assert len(saved["members"]) == 3
    best = torch.load(f"out/checkpoints/trial-{facts['best'][0]['trial']}.pt", weights_only=True)[
        "model"
    ]
    assert all(torch.equal(saved["members"][0][name], best[name]) for name in best)
    report = json.loads(Path("out/report.json").read_text())
    assert report["metrics"]["ensemble_test_accuracy"] > 0.7


def test_a_stack_gives_what_each_trial_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = "search.rounds=[{trials: 6, epochs: 2}]"
    rates = "search.space={optimizer.lr: {kind: log_uniform, low: 1e-3, high: 0.1}}"
    together = _run("together", rounds, rates)
    monkeypatch.setattr(cohort, "STACKED", 1)
    alone = _run("alone", rounds, rates)
    assert _scores(together) == pytest.approx(_scores(alone), abs=0.015)  # one example of 80


MISTAKES = {
    "search.space={optimizer.lrr: {kind: uniform, low: 0, high: 1}}": "did you mean 'lr'",
    "search.space={regularization.dropout: {kind: uniform, low: 0, high: 2}}": "less than 1",
    "search.space={norm: {kind: choice, values: [none, bach]}}": "did you mean 'batch'",
    "search.space={training.epochs: {kind: int, low: 1, high: 9}}": "its round's epochs",
    "search.space={seed: {kind: int, low: 1, high: 9}}": "the same for all trials",
    "search.space={optimizer.lr: {kind: uniform, low: 1, high: 0}}": "must be below",
    "search.space={optimizer.lr: {kind: unifrm, low: 0, high: 1}}": "log_uniform, uniform, int",
    "search.space={}": "at least 1",
    "search.rounds=[]": "at least 1",
    "stages=[data,train]": "add search to stages",
    "ensemble={kind: search}": "add ensemble to stages",
    "search.engine=dask": "vectorized, process, ray",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_is_told_before_anything_is_trained(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "small.yaml", change, "--output", "out"]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[change] in said
    assert "Traceback" not in said
    assert not Path("out").exists()


def test_the_best_trials_are_of_one_network() -> None:
    changes = ["ensemble={kind: search}", "stages=[data,search,train,ensemble]"]
    with pytest.raises(RecipeError, match="networks or inputs differ"):
        load_recipe(
            "small.yaml",
            overrides=[*changes, "search.space={norm: {kind: choice, values: [none, batch]}}"],
        )
    with pytest.raises(RecipeError, match="there is none"):
        load_recipe("small.yaml", overrides=[*changes, "~search"])


DEADLY = """
import os, signal
from pathlib import Path
from torch import nn

def make(inputs, num_classes):
    mark = Path({mark!r})
    if os.getpid() != {parent} and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["process", "ray"])
def test_workers_give_the_same_and_a_dead_one_loses_no_trial(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra ray isn't installed")
    import os

    Path("deadly.py").write_text(DEADLY.format(mark=str(tmp_path / "dead"), parent=os.getpid()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "deadly", raising=False)
    changes = [
        "architecture={kind: custom, target: deadly:make}",
        "search.space.optimizer.lr.high=0.1",
        "search.rounds=[{trials: 6, epochs: 2}]",
        "search.retrain=0",
    ]
    here = _run("here", *changes)
    there = _run("there", *changes, f"search.engine={{kind: {engine}, workers: 2}}")
    assert (tmp_path / "dead").exists()  # a worker died
    assert there["trials"] == 6
    assert _scores(there) == pytest.approx(_scores(here), abs=0.015)
    assert [row["lr"] for row in there["all_trials"]] == [row["lr"] for row in here["all_trials"]]
