"""Checks and stages on multi-label data and regressions: sound set-ups pass, faults are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks import DataCheck, SanityCheck
from nnrecipe.checks.data.classes import ClassesCheck
from nnrecipe.checks.loss.chance import LossAtChanceCheck
from nnrecipe.checks.loss.form import LossFormCheck
from nnrecipe.checks.model.outputs import OutputsCheck
from nnrecipe.checks.overfit import Attempt, judge_overfit
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Silence
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import members
from nnrecipe.data.split import ResidentSplit
from nnrecipe.schedulers import Constant
from nnrecipe.stages import Run, Stage
from nnrecipe.training import TrainingSpec
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.scores import ValueScore

Task = tuple[str, Callable[[Tensor], Tensor], Callable[..., Tensor]]
LABELS: Task = ("multi_label", lambda x: (x @ MIX > 0).float(), F.binary_cross_entropy_with_logits)
VALUES: Task = ("regression", lambda x: x @ MIX / 20**0.5, F.mse_loss)
MIX = torch.randn(20, 3, generator=torch.Generator().manual_seed(5))


def _model(size: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, size))


def _bench(task: Task, **changes: Any) -> Any:
    name, answer, loss = task
    inputs = [
        torch.randn(size, 20, generator=torch.Generator().manual_seed(size))
        for size in (400, 100, 90)
    ]
    train, val, test = [(x, answer(x)) for x in inputs]
    targets = train[1]
    outputs = OutputSpec(
        3,
        task=name,  # type: ignore[arg-type]
        examples=400,
        class_counts=tuple(targets.sum(0).int().tolist()) if name == "multi_label" else (),
        target_mean=tuple(targets.mean(0).tolist()) if name == "regression" else (),
        target_std=tuple(targets.std(0).tolist()) if name == "regression" else (),
    )
    data = {
        "outputs": outputs,
        "classes": ("a", "b", "c"),
        "test": ResidentSplit(*test, device=torch.device("cpu")),
        **changes.pop("data", {}),
    }
    settings = {"model": _model, "loss": loss, "train": train, "val": val, "data": data}
    return make_bench(**(settings | changes))


@pytest.mark.parametrize("check", [*members(DataCheck), *members(SanityCheck)])
@pytest.mark.parametrize("task", [LABELS, VALUES])
def test_sound_ones_pass(check: Any, task: Task) -> None:
    findings = list(check().check(_bench(task)))
    assert {finding.verdict for finding in findings} <= {Verdict.PASS}, findings


@pytest.mark.parametrize(
    ("task", "figures"),
    [(LABELS, {"accuracy", "f1", "exact_match"}), (VALUES, {"r2", "mae", "rmse"})],
)
def test_every_stage_passes_a_sound_one(task: Task, figures: set[str], tmp_path: Path) -> None:
    for name in ("plots", "checkpoints"):
        (tmp_path / name).mkdir()
    select_by = "val_r2" if task is VALUES else "val_accuracy"
    with Logbook(tmp_path, NoTracking()) as logbook:
        run = Run(
            bench=_bench(task),
            training=TrainingSpec(epochs=12, batch_size=32, select_by=select_by),  # type: ignore[arg-type]
            scheduler=Constant(),
            early_stopping=None,
            folder=tmp_path,
            logbook=logbook,
            progress=Silence(),
            recipe={},
        )
        for stage in members(Stage):
            run.results.append(stage().run(run))
    assert {result.verdict for result in run.results} == {Verdict.PASS}, run.results
    assert {name.removeprefix("test_") for name in run.metrics if "test_" in name} == figures | {
        "loss"
    }
    assert run.metrics[f"test_{'r2' if task is VALUES else 'accuracy'}"] > 0.8
    assert ("train_accuracy" in run.metrics) is (task is LABELS)


@pytest.mark.parametrize("task", [LABELS, VALUES])
def test_a_loss_of_the_wrong_sign_is_found(task: Task) -> None:
    loss = task[2]
    (finding,) = LossFormCheck().check(_bench(task, loss=lambda x, y: -loss(x, y)))
    assert finding.cause is Cause.SIGN_FLIPPED
    assert finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("task", [LABELS, VALUES])
def test_a_sum_over_the_batch_is_found(task: Task) -> None:
    loss = task[2]
    (finding,) = LossFormCheck().check(_bench(task, loss=lambda x, y: loss(x, y, reduction="sum")))
    assert finding.cause is Cause.SUM_REDUCTION


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("task", [LABELS, VALUES])
def test_outputs_must_be_as_many_as_targets(task: Task, size: int) -> None:
    (finding,) = OutputsCheck().check(_bench(task, model=lambda: _model(size)))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.WRONG_OUTPUT_SIZE


def _likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.gaussian_nll_loss(outputs[:, :3], targets, outputs[:, 3:].exp())


def test_a_distribution_of_each_value_takes_more_outputs() -> None:
    bench = _bench((VALUES[0], VALUES[1], _likelihood), model=lambda: _model(6))
    for check in (OutputsCheck(), LossFormCheck(), LossAtChanceCheck()):
        (finding,) = check.check(bench)
        assert finding.verdict is Verdict.PASS, finding
    (finding,) = OutputsCheck().check(
        _bench(
            (VALUES[0], VALUES[1], lambda x, y: F.mse_loss(x[:, :3], y)), model=lambda: _model(6)
        )
    )
    assert finding.cause is Cause.WRONG_OUTPUT_SIZE


def test_a_label_that_never_varies_fails() -> None:
    outputs = OutputSpec(3, (0, 200, 100), "multi_label", 400)
    (finding,) = ClassesCheck().check(_bench(LABELS, data={"outputs": outputs}))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.MISSING_CLASS
    assert "a" in finding.measured


def test_targets_far_from_zero_are_told() -> None:
    far: Task = ("regression", lambda x: 500 + x @ MIX, F.mse_loss)
    (finding,) = LossAtChanceCheck().check(_bench(far, learning_rate=1e-4))
    assert finding.verdict is Verdict.WARN
    assert "target_mean" in finding.advice


def test_targets_that_training_reaches_are_no_warning() -> None:
    near: Task = ("regression", lambda x: 15 + x @ MIX, F.mse_loss)
    (finding,) = LossAtChanceCheck().check(_bench(near, learning_rate=0.01))
    assert finding.verdict is Verdict.PASS, finding
    assert "target_mean" in finding.advice


@pytest.mark.parametrize(("noise", "verdict"), [(0.2, Verdict.WARN), (0.8, Verdict.FAIL)])
def test_a_regression_that_is_nearly_learned_only_warns(noise: float, verdict: Verdict) -> None:
    bench = _bench(VALUES)
    batch = bench.data.examples(bench.data.train, torch.arange(20))
    score = ValueScore(3)
    draw = torch.Generator().manual_seed(0)
    spread = noise * batch.targets.std(0)
    score.add(
        batch.targets + spread * torch.randn(batch.targets.shape, generator=draw), batch.targets
    )
    end = Evaluation(loss=noise, examples=20, score=score)
    attempts = [Attempt("some way", False, [1.0, noise], end, bench.make_model())]
    assert not score.solved
    assert judge_overfit(bench, batch, attempts, starts_low=False).verdict is verdict
