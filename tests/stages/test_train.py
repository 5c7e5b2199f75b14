"""The train stage: what it measures beside the training itself, and what it tries afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import nn

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Silence
from nnrecipe.regularization import Regularization
from nnrecipe.schedulers import Constant
from nnrecipe.schedulers.decay import Step
from nnrecipe.stages.run import Run
from nnrecipe.stages.train import TrainStage
from nnrecipe.training import TrainingSpec
from nnrecipe.training.checkpoint import load_checkpoint
from nnrecipe.training.setup import Limits

MODELS: dict[str, Callable[[], nn.Module]] = {
    "tanh": perceptron,
    "relu": lambda: nn.Sequential(
        *(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU()),
        nn.Linear(16, 4),
    ),
    "norm": lambda: nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(72, 4)),
    ),
}


def _train(folder: Path, **changes: Any) -> StageResult:
    settings = {"epochs": 8, "batch_size": 16} | changes.pop("training", {})
    scheduler = changes.pop("scheduler", Constant())
    bench = make_bench(**({"learning_rate": 0.1, "chance": math.log(4)} | changes))
    with Logbook(folder, NoTracking()) as logbook:
        run = Run(
            bench=bench,
            training=TrainingSpec(**settings),
            scheduler=scheduler,
            early_stopping=None,
            folder=folder,
            logbook=logbook,
            progress=Silence(),
            recipe={},
        )
        return TrainStage().run(run)


def _adam(**settings: Any) -> Callable[..., torch.optim.Optimizer]:
    def make(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=lr, **settings)

    return make


def _sgd(**settings: Any) -> Callable[..., torch.optim.Optimizer]:
    def make(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=lr, **settings)

    return make


@pytest.mark.parametrize("name", MODELS)
def test_a_healthy_training_is_let_alone(name: str, tmp_path: Path) -> None:
    result = _train(tmp_path, model=MODELS[name])
    assert result.verdict is Verdict.PASS, result.findings
    assert result.facts["train_accuracy_clean"] > 0.95


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"limits": Limits(gradient_norm=1e-4)}, Cause.CLIP_TOO_SMALL),
        ({"make_optimizer": _adam(eps=100.0)}, Cause.ADAM_EPS),
        ({"scheduler": Step(step_size=3, gamma=0.001)}, Cause.SCHEDULE_TOO_FAST),
        ({"learning_rate": 1e-6}, Cause.LR_TOO_LOW),
        ({"make_optimizer": _sgd(weight_decay=3.0)}, Cause.OVER_REGULARIZED),
        ({"penalty": Regularization(l2=3.0).penalty()}, Cause.OVER_REGULARIZED),
    ],
)
def test_a_setting_that_holds_it_back_is_named(
    name: str, changes: dict[str, Any], cause: Cause, tmp_path: Path
) -> None:
    result = _train(tmp_path, model=MODELS[name], **changes)
    sick = [finding for finding in result.findings if finding.verdict is not Verdict.PASS]
    assert result.verdict is not Verdict.PASS, result.findings
    assert {finding.cause for finding in sick} <= {cause, Cause.LR_TOO_LOW}
    assert max(sick, key=lambda finding: finding.confidence).cause is cause


def test_a_momentum_that_is_far_too_high(tmp_path: Path) -> None:
    result = _train(
        tmp_path, model=MODELS["relu"], make_optimizer=_sgd(momentum=0.9995), learning_rate=0.5
    )
    assert result.verdict is Verdict.FAIL
    assert Cause.MOMENTUM_TOO_HIGH in {finding.cause for finding in result.findings}


def test_an_input_that_is_not_a_number_is_found_with_its_step(tmp_path: Path) -> None:
    inputs, labels = blobs(200, seed=1)
    inputs[77, 0, 3, 3] = math.nan
    result = _train(tmp_path, train=(inputs, labels))
    finding = result.finding("divergence")
    assert finding.cause is Cause.NAN_INPUT
    assert "first in the inputs of the batch" in finding.measured


def test_one_epoch_is_too_few(tmp_path: Path) -> None:
    result = _train(tmp_path, model=MODELS["relu"], training={"epochs": 1}, learning_rate=0.05)
    finding = result.finding("length")
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.UNDERTRAINED)
    assert result.facts["tried_further"] == "length"
    assert result.facts["val_accuracy_further"] > result.facts["history"][-1]["val_accuracy"]


def test_what_is_tried_afterwards_leaves_no_trace(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    _train(tmp_path, training={"epochs": 1}, model=MODELS["relu"])
    assert torch.equal(torch.get_rng_state(), state)
    last = load_checkpoint(tmp_path / "checkpoints" / "last.pt", device=torch.device("cpu"))
    assert last["epoch"] == 1
    assert last["step"] == 13


def test_a_short_training_is_sampled_all_the_same(tmp_path: Path) -> None:
    _train(tmp_path, training={"epochs": 2})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    sampled = [line for line in lines if "update_ratio" in line]
    assert len(sampled) >= 10
    names = {"gradient_norm", "activation_norm", "weight_norm", "clip_factor", "lr", "batch_loss"}
    assert names | {"saturated_units", "total_gradient"} <= set(sampled[0])
    assert set(sampled[0]["activation_norm"]) == {"1", "3"}
