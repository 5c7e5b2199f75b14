"""`nnrecipe doctor`: what is wrong with a run, a repaired config, and plain code from a shell."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from nnrecipe.cli import main
from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import RecipeError
from nnrecipe.core.report import Report
from nnrecipe.recipe import Recipe, load_recipe
from nnrecipe.recipe.changes import changed
from nnrecipe.recipe.repairs import repairs, to_apply, with_repairs
from nnrecipe.report import read_report

DIGITS = """
data: {kind: digits, limit: 300}
architecture: {kind: mlp, widths: [32]}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
training: {epochs: 2, batch_size: 32}
tracking: none
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(DIGITS)
    return path


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides=overrides)


FAULTS: dict[str, tuple[tuple[str, ...], Cause, tuple[str, ...]]] = {
    "raw pixels": (
        ("data.normalize=none", "data.pixels=raw"),
        Cause.INPUT_UNSCALED,
        ("data.normalize=standardize",),
    ),
    "large weights": (
        ("init={kind: normal, std: 5}",),
        Cause.INIT_TOO_LARGE,
        ("init=kaiming_normal",),
    ),
    "zero weights": (("init=zeros",), Cause.ZERO_INIT, ("init=kaiming_normal",)),
    "rate": (("optimizer.lr=10.0",), Cause.LR_TOO_HIGH, ("optimizer.lr=0.03",)),
    "eps": (("optimizer={kind: adam, eps: 1.0}",), Cause.ADAM_EPS, ("optimizer.eps=1e-08",)),
    "momentum": (
        ("optimizer={kind: sgd, momentum: 0.999}",),
        Cause.MOMENTUM_TOO_HIGH,
        ("optimizer.momentum=0.9",),
    ),
    "betas": (
        ("optimizer={kind: adam, betas: [0.999, 0.999]}",),
        Cause.MOMENTUM_TOO_HIGH,
        ("optimizer.betas=[0.9, 0.999]",),
    ),
    "weight decay": (
        ("optimizer={kind: sgd, weight_decay: 1.0}", "regularization.l2=0.5"),
        Cause.OVER_REGULARIZED,
        ("optimizer.weight_decay=0.0005", "regularization.l2=0.0001"),
    ),
    "dropout": (
        ("regularization.dropout=0.95",),
        Cause.DROPOUT_TOO_HIGH,
        ("regularization.dropout=0.2",),
    ),
    "clipping": (
        ("training.clip_norm=1e-4",),
        Cause.CLIP_TOO_SMALL,
        ("training.clip_norm=null",),
    ),
    "batches": (
        ("training.batch_size=2", "norm=batch"),
        Cause.BN_SMALL_BATCH,
        ("training.batch_size=32",),
    ),
    "epochs": (
        ("training.epochs=1", "scheduler.warmup=0"),
        Cause.UNDERTRAINED,
        ("training.epochs=3",),
    ),
    "order": (("training.shuffle=false",), Cause.UNSHUFFLED, ("training.shuffle=true",)),
    "schedule": (
        ("scheduler={kind: step, step_size: 5}",),
        Cause.SCHEDULE_TOO_FAST,
        ("scheduler=cosine",),
    ),
    "few examples": (("data.limit=20",), Cause.TOO_LITTLE_DATA, ("data.limit=null",)),
    "sigmoids": (
        ("architecture={kind: mlp, widths: [64], depth: 10, activation: sigmoid}",),
        Cause.SATURATING_DEPTH,
        ("architecture.activation=relu", "init=kaiming_normal"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_config_value_that_is_the_cause_has_a_repair(fault: str) -> None:
    overrides, cause, expected = FAULTS[fault]
    recipe = _recipe(*overrides)
    found = repairs(recipe, cause, rate=0.03)
    assert found == expected or changed(recipe, found) == changed(recipe, expected)
    assert changed(recipe, found) != recipe


@pytest.mark.parametrize("cause", list(Cause))
def test_a_repair_is_a_valid_config_and_one_that_differs(cause: Cause) -> None:
    recipe = _recipe()
    found = repairs(recipe, cause)
    assert not found or changed(recipe, found) != recipe


def test_what_no_config_value_brings_about_has_no_repair() -> None:
    recipe = _recipe()
    for cause in (Cause.DOUBLE_SOFTMAX, Cause.NAN_INPUT, Cause.LEAKAGE, Cause.ZERO_INIT):
        assert repairs(recipe, cause) == ()
    with pytest.raises(RecipeError):
        changed(recipe, ["optimizer.momentun=0.9"])


def _report(*causes: tuple[str, float, tuple[str, ...]]) -> Report:
    diagnosis = [
        {"cause": cause, "confidence": sure, "evidence": ["train/x"], "change": change}
        for cause, sure, change in causes
    ]
    return Report.model_validate(
        {"name": "x", "verdict": "fail", "stages": [], "metrics": {}, "diagnosis": diagnosis}
    )


def test_a_proposal_that_the_config_cannot_take_is_replaced() -> None:
    recipe = _recipe("init={kind: normal, std: 5}", "optimizer={kind: sgd, momentum: 0.99}")
    given = _report(
        ("init_too_large", 0.9, ("init.kind=kaiming_normal",)),  # which leaves `std` over
        ("momentum_too_high", 0.6, ("optimizer.momentum=0.8",)),
        ("adam_eps", 0.9, ("optimizer.eps=1e-8",)),
        ("undertrained", 0.3, ()),
    )
    mended = with_repairs(given, recipe).diagnosis
    assert [found.change for found in mended] == [
        ("init=kaiming_normal",),
        ("optimizer.momentum=0.8",),
        (),
        ("training.epochs=120",),
    ]
    assert to_apply(recipe, mended) == ("init=kaiming_normal", "optimizer.momentum=0.8")


def test_a_repaired_config_trains_better(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config), "init={kind: normal, std: 30}", "--output", "sick"]) == 1
    capsys.readouterr()
    assert main(["doctor", "sick"]) == 1
    told = capsys.readouterr().out
    assert re.search(r"^1\. init\w* too large", told, re.MULTILINE)
    assert re.search(r"change +init=kaiming_normal", told)
    assert main(["doctor", "sick", "--apply"]) == 0
    told = capsys.readouterr().out
    assert "repaired  sick/config.repaired.yaml" in told
    (line,) = (line for line in told.splitlines() if line.startswith("validation accuracy"))
    before, after = (float(figure) for figure in line.split() if figure[0].isdigit())
    assert after > before + 10
    assert load_recipe("sick/config.repaired.yaml").init.kind == "kaiming_normal"  # type: ignore[union-attr]
    report = read_report(Path("sick/doctor/after"))
    assert [stage.stage for stage in report.stages] == ["train"]
    assert main(["doctor", "sick", "--apply"]) == 0
    assert Path("sick/config.repaired-2.yaml").is_file()


def test_a_healthy_run_has_nothing_to_repair(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", str(config), "training.epochs=12", "--stages", "data,sanity", "--output", "well"])
    capsys.readouterr()
    assert main(["doctor", "well", "--apply"]) == 0
    assert "no cause of any trouble was found" in capsys.readouterr().out
    assert not Path("well/config.repaired.yaml").exists()


MINE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
INPUTS = torch.randn(200, 6)
DATA = TensorDataset(INPUTS, INPUTS[:, :3].argmax(1))

class Net(nn.Module):
    def __init__(self, squashed=False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        self.squashed = squashed

    def forward(self, inputs):
        outputs = self.layers(inputs)
        return outputs.softmax(1) if self.squashed else outputs

def sound():
    model = Net()
    return {
        "model": model,
        "train_loader": DataLoader(DATA, batch_size=32, shuffle=True),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-2),
    }

def sick():
    return Net(squashed=True), DataLoader(DATA, batch_size=32, shuffle=True), nn.CrossEntropyLoss()

def network(inputs, num_classes):
    return Net(squashed=True)

def splits():
    return TensorDataset(*DATA[:160]), TensorDataset(*DATA[160:])

def wrong():
    return {"net": Net()}

def nothing():
    pass

def broken():
    raise RuntimeError("out of order")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module in the current folder, another for each test: modules are kept."""
    name = f"plain_code_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return name


def test_plain_code_is_diagnosed_from_the_shell(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"{mine}:sound"]) == 0
    assert "PASS" in capsys.readouterr().out
    assert main(["doctor", f"{mine}:sick", "--output", "kept"]) == 1
    assert "double_softmax" in capsys.readouterr().out.replace(" ", "_")
    assert Path("kept/report.html").is_file()


def test_a_fault_in_ones_own_code_is_said_not_to_be_the_configs(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.yaml").write_text(
        textwrap.dedent(f"""
        data: {{kind: custom, target: "{mine}:splits"}}
        architecture: {{kind: custom, target: "{mine}:network"}}
        training: {{epochs: 1}}
        tracking: none
        """)
    )
    assert main(["run", "own.yaml", "--stages", "sanity,overfit", "--output", "run"]) == 1
    capsys.readouterr()
    assert main(["doctor", "run", "--apply"]) == 1
    told = capsys.readouterr().out
    assert "1. double softmax" in told
    assert "nothing that a change of the config can repair" in told
    assert not Path("run/config.repaired.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such_module:make"], "no module"),
        (["{mine}:missing"], "has no 'missing'"),
        (["{mine}:wrong"], "missing a required argument: 'model'"),
        (["{mine}:nothing"], "must return the arguments of nnrecipe.diagnose"),
        (["{mine}:broken"], "failed: RuntimeError: out of order"),
        (["{mine}:sound", "--apply"], "--apply is for a run's folder"),
        (["nowhere"], "no report.json"),
        (["nowhere", "--output", "x"], "--output is for your own code"),
    ],
)
def test_a_mistake_is_the_users(
    mine: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *(word.format(mine=mine) for word in words)]) == 2
    assert message in capsys.readouterr().err
