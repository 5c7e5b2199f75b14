"""Averages of several models' outputs against NumPy, and which cycles give snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Task
from nnrecipe.schedulers import Constant, CosineRestarts, Cyclic
from nnrecipe.training.ensembles import AverageOf, Ensemble, Members, Snapshots, averaged


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


REFERENCES = {
    ("single_label", "probabilities"): lambda made: _softmax(made).mean(0),
    ("single_label", "logits"): lambda made: _softmax(made.mean(0)),
    ("multi_label", "probabilities"): lambda made: _sigmoid(made).mean(0),
    ("multi_label", "logits"): lambda made: _sigmoid(made.mean(0)),
    ("regression", "probabilities"): lambda made: made.mean(0),
    ("regression", "logits"): lambda made: made.mean(0),
}
READ = {"single_label": np.exp, "multi_label": _sigmoid, "regression": lambda made: made}


@pytest.mark.parametrize(("task", "average"), REFERENCES)
def test_the_average_is_that_of_numpy(task: Task, average: AverageOf) -> None:
    made = np.random.default_rng(0).normal(scale=3.0, size=(4, 50, 6))
    ours = averaged(torch.from_numpy(made), task=task, average=average).numpy()
    np.testing.assert_allclose(READ[task](ours), REFERENCES[task, average](made), rtol=1e-12)


def test_sure_members_give_no_infinity() -> None:
    made = torch.tensor([[[200.0, -200.0]], [[-200.0, 200.0]]])
    for task in ("single_label", "multi_label"):
        found = averaged(made, task=task, average="probabilities")  # type: ignore[arg-type]
        assert torch.isfinite(found).all()


def test_an_ensemble_is_made_of_copies_with_the_given_states() -> None:
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    states = [one.state_dict(), other.state_dict()]
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    ensemble = Ensemble.of_states(model, states, task="regression", average="logits")
    inputs = torch.randn(5, 3)
    torch.testing.assert_close(ensemble(inputs), (one(inputs) + other(inputs)) / 2)
    assert torch.equal(model.weight, before)


PER_EPOCH = 10


@pytest.mark.parametrize(
    ("schedule", "size", "steps"),
    [
        (CosineRestarts(period="2 epochs", period_factor=1), 3, (80, 100, 120)),
        (CosineRestarts(period="1 epoch", period_factor=2), 3, (10, 30, 70)),
        (CosineRestarts(period=20, period_factor=1, warmup="2 epochs"), 2, (100, 120)),
        (Cyclic(step_size_up="1 epoch", step_size_down="2 epochs"), 4, (30, 60, 90, 120)),
        (Cyclic(step_size_up="2.5 epochs"), 2, (50, 100)),
    ],
)
def test_snapshots_are_the_ends_of_the_last_cycles(
    schedule: CosineRestarts | Cyclic, size: int, steps: tuple[int, ...]
) -> None:
    multiplier = schedule.build(12 * PER_EPOCH, steps_per_epoch=PER_EPOCH)
    found = Snapshots(size=size).snapshot_steps(multiplier, steps_per_epoch=PER_EPOCH)
    assert found == steps
    for step in steps:  # where a cycle ends the rate has come down, and goes up again
        assert multiplier(step - 1) < multiplier(step - 3)
        assert multiplier(step + 2) > multiplier(step - 1)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Constant(), "ensemble.kind: .* constant has none"),
        (CosineRestarts(period="5 epochs"), "ensemble.size: 3 snapshots of 1 whole cycle"),
        (CosineRestarts(period="2.5 epochs", period_factor=1), "scheduler.kind: .* within epoch 8"),
    ],
)
def test_without_cycles_there_are_no_snapshots(schedule: Any, message: str) -> None:
    multiplier = schedule.build(12 * PER_EPOCH, steps_per_epoch=PER_EPOCH)
    assert Members().snapshot_steps(multiplier, steps_per_epoch=PER_EPOCH) == ()
    with pytest.raises(UserError, match=message):
        Snapshots(size=3).snapshot_steps(multiplier, steps_per_epoch=PER_EPOCH)
