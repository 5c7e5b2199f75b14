"""Several tasks through the command line: runs, reports, refusals, and going on after a cut."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnrecipe.cli import main
from nnrecipe.core.progress import Silence
from nnrecipe.recipe import load
from nnrecipe.runner import resume_run, run_recipe

KILL_TEST = str(Path(__file__).parents[1] / "scripts" / "kill_test")
PARITY = {"kind": "groups", "groups": {"even": list("02468"), "odd": list("13579")}}
CONFIG: dict[str, Any] = {
    "data": {"kind": "digits", "tasks": {"digit": "label", "parity": PARITY, "ink": "ink_area"}},
    "architecture": {"kind": "mlp", "widths": [64, 32]},
    "loss": {"kind": "tasks", "weights": "auto"},
    "optimizer": {"kind": "adam", "lr": 3e-3},
    "training": {"epochs": 8, "batch_size": 32, "monitor_every": 10},
}
NAMES = ("digit", "parity", "ink")
WEIGHTS = ("fixed", "auto", "uncertainty", "grad_norm")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tasks.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return path


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_predict_and_export_take_every_task(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", str(config), "--output", "out", "stages=[train]", "training.epochs=2"]) == 0
    images = torch.from_numpy(load_digits().images[:3] * (255 / 16)).round().byte()
    for place, image in enumerate(images.numpy()):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    capsys.readouterr()

    assert main(["predict", "out", *(f"{i}.png" for i in range(3)), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["predict", "out", "0.png"]) == 0
    assert "ink: ink_area" in capsys.readouterr().out
    assert main(["predict", "out", "0.png", "--top-k", "2"]) == 2
    assert "several tasks" in capsys.readouterr().err
    assert main(["export", "out", "--format", "torch"]) == 0

    assert len(told[0]["outputs"]) == 13
    program = torch.export.load("out/model.pt2").module()
    made = program(images[:, None])
    for row, answer in zip(made.tolist(), told, strict=True):
        assert list(answer["outputs"].values()) == pytest.approx(row, abs=1e-5)
    assert made[:, :10].sum(1).tolist() == pytest.approx([1, 1, 1])
    assert made[:, 10:12].sum(1).tolist() == pytest.approx([1, 1, 1])
    ink = (images > 127).float().mean((1, 2)).tolist()
    assert made[:, 12].tolist() == pytest.approx(ink, abs=0.25)  # two epochs are not enough


def sampled(folder: Path, figure: str) -> list[dict[str, float]]:
    """The figure of each task at the sampled steps."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[figure] for line in lines if figure in line]


def test_a_whole_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config), "--output", "out"]) == 0
    report = report_of(Path("out"))
    assert [s["stage"] for s in report["stages"] if s["verdict"] == "fail"] == []
    metrics = report["metrics"]
    firsts = [metrics["test_digit_accuracy"], metrics["test_parity_accuracy"]]
    firsts.append(metrics["test_ink_r2"])
    assert metrics["test_score"] == pytest.approx(sum(firsts) / 3)
    assert min(firsts[:2]) > 0.9
    told = capsys.readouterr()
    assert "test digit accuracy" in told.out + told.err
    stages = {stage["stage"]: stage for stage in report["stages"]}
    chance = [f for f in stages["sanity"]["findings"] if f["check"] == "loss_at_init"]
    assert [f["measured"].partition(":")[0] for f in chance] == list(NAMES)
    assert [f["expected"] for f in chance][:2] == ["2.3026 (ln 10)", "0.69315 (ln 2)"]
    leaks = [f["measured"] for f in stages["data"]["findings"] if f["check"] == "leak_val"]
    assert len(leaks) == 1, "what is so of all tasks is told once"
    assert not leaks[0].startswith(NAMES)
    assert list(stages["evaluate"]["facts"]["tasks"]) == list(NAMES)
    (balance,) = [f for f in stages["train"]["findings"] if f["check"] == "task_balance"]
    assert balance["verdict"] != "fail"
    page = Path("out/report.html").read_text()
    for name in NAMES:
        assert f"{name}:" in page
    assert Path("out/plots/task_loss.svg").exists()
    assert Path("out/plots/confusion_parity.svg").exists()


def test_auto_starts_every_loss_near_one_and_stays(config: Path) -> None:
    words = ["training.epochs=2", "training.monitor_every=1", "--stages", "train"]
    main(["run", str(config), *words, "--output", "out"])
    weights = sampled(Path("out"), "task_weight")
    assert all(step == weights[0] for step in weights)
    first = sampled(Path("out"), "task_loss")[0]
    assert [first[name] * weights[0][name] for name in NAMES] == pytest.approx([1] * 3, abs=0.25)


def test_the_losses_share_a_chart_and_so_do_the_weights(config: Path) -> None:
    main(["run", str(config), "training.epochs=2", "--stages", "train", "--output", "out"])
    for name in NAMES:
        board = EventAccumulator(str(Path("out/tensorboard") / name)).Reload()
        tags = {"tasks/loss", "tasks/weight", "tasks/gradient", "tasks/score"}
        assert tags <= set(board.Tags()["scalars"])
    losses = [point.value for point in board.Scalars("tasks/loss")]
    assert losses == pytest.approx([step["ink"] for step in sampled(Path("out"), "task_loss")])


@pytest.mark.parametrize(("factor", "cause"), [(1.0, None), (1e4, "loss_mismatch")])
def test_a_task_that_drowns_the_others_is_named(
    factor: float, cause: str | None, config: Path
) -> None:
    """A healthy twin, and the same with one loss made ten thousand times as large."""
    weights = f"loss.weights={{kind: auto, factors: {{digit: {factor:g}}}}}"
    words = [weights, "training.epochs=12", "--stages", "train", "--output", "out"]
    assert main(["run", str(config), *words]) == 0
    report = report_of(Path("out"))
    (found,) = [f for f in report["stages"][0]["findings"] if f["check"] == "task_balance"]
    assert found["cause"] == cause
    if cause is not None:
        assert report["diagnosis"][0]["cause"] == cause
        assert "digit pulls" in found["measured"]
        assert found["change"] == ["loss.weights=auto"]


OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def data():
    draw = torch.Generator().manual_seed(0)
    x, mix = torch.randn(900, 12, generator=draw), torch.randn(12, 4, generator=draw)
    kind = (x @ mix[:, :3]).argmax(1, keepdim=True).float()
    y = torch.cat([kind, x @ mix[:, 3:] * 5 + 40, (x[:, :2] > 0).float()], 1)
    return tuple(TensorDataset(x[part], y[part]) for part in (slice(600), slice(600, 750)))


class Heads(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.kind, self.rest = nn.Linear(32, 3), nn.Linear(32, num_classes - 3)
        self.trunk = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())

    def forward(self, x):
        z = self.trunk(x)
        return torch.cat([self.kind(z), self.rest(z)], 1)


def absolute(outputs, targets):
    return (outputs - targets).abs().mean()
"""


def test_rows_heads_and_a_loss_of_ones_own(config: Path) -> None:
    Path("several_of_my_own.py").write_text(OWN)
    column = {"kind": "columns"}
    tasks = {
        "kind": {**column, "columns": [0], "task": "single_label"},
        "size": {**column, "columns": [1]},
        "tags": {**column, "columns": [2, 3], "task": "multi_label"},
    }
    target = "several_of_my_own"
    own = {
        "data": {
            "kind": "custom", "target": f"{target}:data", "task": "regression", "tasks": tasks,
        },
        "architecture": {"kind": "custom", "target": f"{target}:Heads"},
        "loss": {
            "kind": "tasks",
            "weights": "auto",
            "losses": {"size": {"kind": "custom", "target": f"{target}:absolute"}},
        },
        "optimizer": {"kind": "adam", "lr": 0.01},
        "training": {"epochs": 15, "batch_size": 32},
    }  # fmt: skip
    config.write_text(yaml.safe_dump(own, sort_keys=False))
    stages = "sanity,train,evaluate"
    assert main(["run", str(config), "--stages", stages, "--output", "out"]) == 0
    metrics = report_of(Path("out"))["metrics"]
    assert metrics["val_kind_accuracy"] > 0.85
    assert metrics["val_size_r2"] > 0.9
    assert metrics["val_tags_accuracy"] > 0.85


class CutOff(KeyboardInterrupt):
    """Ctrl-C, in the midst of training."""


class Stopwatch(Silence):
    """Cuts the run off after so many steps of training."""

    def __init__(self, steps: int) -> None:
        self.steps, self.trains = steps, False

    def begin(self, stage: str, *, total: int | None = None) -> None:
        self.trains = stage == "train"

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self.steps -= amount * self.trains
        if self.steps <= 0:
            raise CutOff


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_run_that_is_cut_off_ends_with_the_same_bits(weights: str, config: Path) -> None:
    differences: Callable[[Path, Path], Iterator[str]] = runpy.run_path(KILL_TEST)["differences"]
    changes = [f"loss.weights={weights}", "data.limit=200", "training.epochs=3"]
    # Two runs of one process in one second have event files whose names don't tell their order.
    changes += ["training.threads=1", "stages=[train, evaluate]", "tracking=none"]
    loaded = load(config, overrides=changes)
    whole, cut = Path("whole"), Path("cut")
    given: dict[str, Any] = {"source": loaded.record, "keep_going": True}
    run_recipe(loaded.recipe, output=whole, **given)
    with pytest.raises(CutOff):
        run_recipe(loaded.recipe, output=cut, progress=Stopwatch(10), **given)
    resume_run(cut)
    assert list(differences(whole, cut)) == []
    ends = [torch.load(run / "checkpoints" / "last.pt", weights_only=True) for run in (whole, cut)]
    kept = [end["loss"] for end in ends]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())
    moved = {"uncertainty": "0.log_variance", "grad_norm": "0.mean"}
    assert weights not in moved or bool(kept[0][moved[weights]].any())


@pytest.mark.parametrize(
    "optimizer", ["sgd", "muon", "{kind: adamw, weight_decay: 0.1}"], ids=["sgd", "muon", "adamw"]
)
def test_learned_weights_go_with_the_optimizer(optimizer: str, config: Path) -> None:
    words = [f"optimizer={optimizer}", "optimizer.lr=0.01", "loss.weights=uncertainty"]
    words += ["training.epochs=2", "--stages", "train", "--keep-going", "--output", "out"]
    assert main(["run", str(config), *words]) in (0, 1)
    weights = sampled(Path("out"), "task_weight")
    assert weights[0] != weights[-1]


def test_a_search_takes_several_tasks(config: Path) -> None:
    space = "search.space={optimizer.lr: {kind: log_uniform, low: 1e-3, high: 1e-2}}"
    words = ["search.kind=random", space, "search.rounds=[{trials: 2, epochs: 1}]"]
    words += ["search.seeds=1", "data.limit=200", "training.epochs=1"]
    code = main(["run", str(config), *words, "--stages", "search,train", "--output", "out"])
    assert code in (0, 1)
    assert "val_score" in report_of(Path("out"))["stages"][0]["facts"]["figure"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["regularization.mixup=0.2"], "regularization.mixup: mixes two examples of one task"),
        (["ensemble=members"], "ensemble.kind: averages what models say of one task"),
        (["loss=cross_entropy"], "loss.kind: cross_entropy is for single_label"),
        (["~data.tasks"], "loss.kind: tasks is for several, and the data are single_label"),
        (["loss.losses={ink: cross_entropy}"], "loss.losses.ink.kind: cross_entropy is for"),
        (["loss.losses={inc: mse}"], "loss.losses.inc: no such task"),
        (["loss.weights={kind: auto, factors: {inc: 2}}"], "loss.weights.factors.inc: no such"),
        (["training.select_by=val_accuracy"], "training.select_by: there is no val_accuracy"),
        (["data.tasks.parity.groups={a: ['0'], b: ['1']}"], "data.tasks.parity.groups: 2, 3"),
        (["data.tasks.ink=inc_area"], "data.tasks.ink"),
        (["optimizer=lbfgs", "loss.weights=grad_norm"], "loss.weights.kind: grad_norm changes"),
        (["loss.weights=grad_norm", "training.compile=on"], "training.compile: on: grad_norm"),
        (["init={output_bias: target_mean}"], "init.output_bias: target_mean is for regression"),
    ],
)
def test_what_does_not_go_together_is_told(
    words: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(config), *words, "--stages", "train", "--output", "out"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
