"""Every stage on a small model and made-up data: what it leaves behind, and its verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import nn

from nnrecipe.checks.overfit import Attempt, judge_overfit
from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Silence
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.split import ResidentSplit
from nnrecipe.regularization import EarlyStopping
from nnrecipe.schedulers import Constant
from nnrecipe.stages import Run, Stage
from nnrecipe.stages.evaluate import EvaluateStage
from nnrecipe.stages.lr_probe import LrProbeStage
from nnrecipe.stages.overfit import OverfitStage
from nnrecipe.stages.sanity import SanityStage
from nnrecipe.stages.train import TrainStage
from nnrecipe.training import TrainingSpec
from nnrecipe.training.checkpoint import load_checkpoint
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.ladder import Rung
from nnrecipe.training.scores import ClassScore


def _run(folder: Path, **changes: Any) -> Run:
    settings = {"epochs": changes.pop("epochs", 4), "batch_size": 32, "monitor_every": 3}
    stopping = changes.pop("early_stopping", None)
    for name in ("plots", "checkpoints"):
        (folder / name).mkdir(exist_ok=True)
    return Run(
        bench=make_bench(**changes),
        training=TrainingSpec(**settings),
        scheduler=Constant(),
        early_stopping=stopping,
        folder=folder,
        logbook=Logbook(folder, NoTracking()),
        progress=Silence(),
        recipe={},
    )


def _walk(run: Run, *stages: Any) -> list[StageResult]:
    with run.logbook:
        for stage in stages:
            run.results.append(stage.run(run))
    return run.results


def test_a_healthy_model_passes_every_stage(tmp_path: Path) -> None:
    test = ResidentSplit(*blobs(60, seed=3), device=torch.device("cpu"))
    run = _run(tmp_path, chance=math.log(4), data={"test": test})
    idle = ("search", "ensemble", "transfer")
    stages = [stage() for stage in members(Stage) if kind_of(stage) not in idle]
    results = _walk(run, *stages)
    assert [result.stage for result in results] == [stage.kind for stage in stages]
    for result in results:
        assert result.verdict is Verdict.PASS, result.findings
        assert result.findings
        assert result.facts
    assert set(run.metrics) == {
        f"{split}_{figure}" for split in ("train", "val", "test") for figure in ("loss", "accuracy")
    }
    assert run.metrics["test_accuracy"] > 0.95


def _softmax() -> nn.Module:
    return nn.Sequential(perceptron(), nn.Softmax(1))


def _blind() -> nn.Module:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = perceptron()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(0 * x)  # type: ignore[no-any-return]

    return Blind()


def _zeros() -> nn.Module:
    model = perceptron()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def _dead() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))
    nn.init.constant_(model[1].bias, -100.0)
    return model


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (_softmax, Cause.DOUBLE_SOFTMAX),
        (_blind, Cause.INPUT_IGNORED),
        (_zeros, Cause.ZERO_INIT),
        (_dead, Cause.DEAD_RELU),
    ],
)
def test_what_cannot_overfit_fails_with_its_cause(model: Any, cause: Cause, tmp_path: Path) -> None:
    inputs, _ = blobs(200, seed=1)
    # Labels that don't follow from the inputs: probabilities can't be pushed far enough apart.
    labels = torch.randint(4, (200,), generator=torch.Generator().manual_seed(0))
    run = _run(tmp_path, model=model, train=(inputs, labels))
    stage = OverfitStage(steps=60)
    (result,) = _walk(run, stage)
    if result.verdict is Verdict.FAIL:
        assert result.findings[0].cause is cause
    else:  # the softmax may still get every example right, if barely
        assert cause is Cause.DOUBLE_SOFTMAX
        assert result.facts["loss"] > 0.7


def _linear() -> nn.Module:
    """Two linear layers: unlike tanh units they don't saturate, so that a high rate explodes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Linear(16, 4))


@pytest.mark.parametrize(("rate", "cause"), [(1e-6, Cause.LR_TOO_LOW), (1e5, Cause.LR_TOO_HIGH)])
def test_overfit_tells_the_rate_from_the_model(rate: float, cause: Cause, tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=rate, model=_linear)
    (result,) = _walk(run, OverfitStage(steps=100))
    (finding,) = result.findings
    assert finding.verdict is Verdict.WARN
    assert finding.cause is cause
    assert "adam" in finding.measured


def _attempt(label: str, losses: list[float], *, lower: bool = False, right: int = 0) -> Attempt:
    score = ClassScore(2)
    score.add(torch.eye(2)[[1, right]], torch.tensor([1, 0]))
    end = Evaluation(loss=losses[-1], examples=2, score=score)
    return Attempt(label, lower, losses, end, nn.Identity())


@pytest.mark.parametrize(
    ("own", "tenth", "cause"),
    [
        ([2.3, 2.299], [2.3, 2.2999], Cause.LR_TOO_LOW),  # it falls with the rate
        ([2.3, 1.9], [2.3, 2.25], Cause.LR_TOO_LOW),
        ([2.3, 9.0], [2.3, 2.2], Cause.LR_TOO_HIGH),
        ([2.3, 2.5], [2.3, 2.5], None),  # neither way is better
        ([2.3, 2.4], [2.3, 1.9], None),  # too high on few examples alone, perhaps
        ([2.3, 0.1], [2.3, 2.2], None),  # well on its way
    ],
)
def test_a_direction_of_the_rate_needs_a_proof(
    own: list[float], tenth: list[float], cause: Cause | None
) -> None:
    bench = make_bench()
    attempts = [
        _attempt("own", own, right=1),
        _attempt("a tenth", tenth, lower=True, right=1),
        _attempt("adam", [2.3, 0.01]),
    ]
    batch = bench.sample(bench.data.train, 20)
    finding = judge_overfit(bench, batch, attempts, starts_low=False)
    assert finding.cause is cause
    assert finding.verdict is (Verdict.WARN if cause else Verdict.PASS)


def test_overfit_leaves_out_what_contradicts_itself(tmp_path: Path) -> None:
    inputs, labels = blobs(200, seed=1)
    rows = inputs[torch.arange(200) % 16 // 4 * 5]
    run = _run(tmp_path, train=(rows, labels))
    (result,) = _walk(run, OverfitStage())
    assert result.verdict is Verdict.PASS, result
    assert 1 < result.facts["examples"] < 20


def test_overfit_takes_its_examples_from_every_class(tmp_path: Path) -> None:
    inputs, labels = blobs(400, seed=1)
    order = labels.argsort()
    run = _run(tmp_path, train=(inputs[order], labels[order]))
    (result,) = _walk(run, OverfitStage(examples=8))
    assert result.facts["examples"] == 8
    assert result.facts["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("rate", "verdict", "cause"),
    [
        (1e-6, Verdict.WARN, Cause.LR_TOO_LOW),
        (0.3, Verdict.PASS, None),
        (1e6, Verdict.FAIL, Cause.LR_TOO_HIGH),
    ],
)
def test_the_probe_judges_the_declared_rate(
    rate: float, verdict: Verdict, cause: Cause | None, tmp_path: Path
) -> None:
    run = _run(tmp_path, learning_rate=rate)
    (result,) = _walk(run, LrProbeStage())
    (finding,) = result.findings
    assert finding.verdict is verdict
    assert finding.cause is cause
    assert rate in [rung["lr"] for rung in result.facts["ladder"]]
    assert run.learning_rate == rate


@pytest.mark.parametrize(
    ("end", "warmup", "verdict"),
    [
        (math.inf, 0, Verdict.FAIL),
        (math.inf, 0.5, Verdict.WARN),
        (2.0, 0, Verdict.WARN),
        (2.0, 0.5, Verdict.PASS),
    ],
)
def test_a_rate_fails_only_if_the_loss_is_lost_at_once(
    end: float, warmup: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rung(_climber: object, rate: float) -> Rung:
        return Rung(rate, 1.4, end if rate >= 0.1 else 1.4 * (1 - rate))

    monkeypatch.setattr("nnrecipe.stages.lr_probe._Climber.__call__", rung)
    run = _run(tmp_path, learning_rate=0.2)
    run.scheduler = Constant(warmup=warmup)
    (result,) = _walk(run, LrProbeStage())
    assert result.verdict is verdict
    assert result.findings[0].measured.startswith("0.2 is exploding")


def test_auto_takes_the_suggestion_which_the_declared_rate_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "auto").mkdir()
    (tmp_path / "declared").mkdir()
    auto = _run(tmp_path / "auto", learning_rate=None)
    (result,) = _walk(auto, LrProbeStage())
    assert result.verdict is Verdict.PASS
    assert auto.learning_rate == result.facts["suggested"]
    low, high = result.facts["good"]
    assert low <= auto.learning_rate <= high
    declared = _run(tmp_path / "declared", learning_rate=0.0123)
    _walk(declared, LrProbeStage())
    assert declared.suggested_rate == auto.suggested_rate


def test_without_a_falling_rate_auto_is_an_error(tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=None, model=_blind, loss=lambda z, y: (0 * z).sum() + 1.0)
    (result,) = _walk(run, LrProbeStage(per_decade=1, steps=4))
    assert result.verdict is Verdict.FAIL
    assert run.learning_rate is None
    run.logbook = Logbook(tmp_path, NoTracking())
    *_, train, evaluation = _walk(run, TrainStage(), EvaluateStage())
    assert train.finding("learning_rate").verdict is Verdict.FAIL
    assert evaluation.finding("trained_model").verdict is Verdict.FAIL


def test_train_keeps_the_best_and_the_last(tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=0.05, epochs=3)
    (result,) = _walk(run, TrainStage())
    best, last = (
        load_checkpoint(run.checkpoints / name, device=torch.device("cpu"))
        for name in ("best.pt", "last.pt")
    )
    assert best["epoch"] == result.facts["best_epoch"]
    assert last["epoch"] == 3
    assert last["step"] == 3 * run.steps_per_epoch
    assert "optimizer" in last
    assert best["classes"] == ["a", "b", "c", "d"]
    assert set(best["model"]) == set(perceptron().state_dict())
    assert run.metrics["val_accuracy"] == max(
        epoch["val_accuracy"] for epoch in result.facts["history"]
    )


def test_early_stopping_stops(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        learning_rate=1e-9,
        epochs=30,
        early_stopping=EarlyStopping(patience=2, min_delta=0.1),
    )
    (result,) = _walk(run, TrainStage())
    assert result.facts["stopped_early"]
    assert result.facts["epochs"] == 3


@pytest.mark.parametrize(
    ("rate", "check", "cause", "word"),
    [
        (1e9, "divergence", Cause.LR_TOO_HIGH, "exploding"),
        (1e-7, "learning", Cause.LR_TOO_LOW, "too low"),
    ],
)
def test_train_names_an_odd_rate(
    rate: float, check: str, cause: Cause, word: str, tmp_path: Path
) -> None:
    run = _run(tmp_path, learning_rate=rate, model=_linear)
    (result,) = _walk(run, TrainStage())
    finding = result.finding(check)
    assert result.verdict is Verdict.FAIL
    assert finding.cause is cause
    assert finding.measured.startswith(word)


def test_evaluate_uses_the_checkpoints_preprocessing(tmp_path: Path) -> None:
    test = ResidentSplit(*blobs(60, seed=3), device=torch.device("cpu"))
    run = _run(tmp_path, learning_rate=0.2, data={"test": test})
    _walk(run, TrainStage())
    run.logbook = Logbook(tmp_path, NoTracking())
    run.bench.data.preprocessing.mean.fill_(100.0)
    *_, result = _walk(run, EvaluateStage())
    assert result.facts["accuracy"] > 0.95
    confusion = torch.tensor(result.facts["confusion"])
    assert confusion.sum() == 60
    for index, name in enumerate("abcd"):
        recall = confusion[index, index] / confusion[index].sum()
        assert result.facts["per_class"][name]["recall"] == pytest.approx(recall.item())


def test_evaluate_takes_validation_where_there_is_no_test_split(tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=0.2)
    *_, result = _walk(run, TrainStage(), EvaluateStage())
    assert result.facts["split"] == "val"
    assert "test_accuracy" not in run.metrics


def test_evaluate_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add the train stage"):
        _walk(_run(tmp_path), EvaluateStage())


def test_a_model_that_knows_nothing_fails_evaluation(tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=0.01, model=_blind, epochs=15)
    *_, result = _walk(run, TrainStage(), EvaluateStage())
    assert result.finding("above_chance").verdict is Verdict.FAIL


def test_a_few_steps_prove_nothing_of_the_model(tmp_path: Path) -> None:
    run = _run(tmp_path, learning_rate=0.01, model=_blind, epochs=4)
    *_, result = _walk(run, TrainStage(), EvaluateStage())
    finding = result.finding("above_chance")
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.UNDERTRAINED)


def _slow_statistics() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(36, 36), nn.BatchNorm1d(36, momentum=0.001), nn.ReLU()),
        *(nn.Linear(36, 36), nn.BatchNorm1d(36, momentum=0.001), nn.ReLU()),
        nn.Linear(36, 4),
    )


def test_running_statistics_that_lag_behind_are_no_failure_to_overfit(tmp_path: Path) -> None:
    inputs, labels = blobs(200, seed=1)
    run = _run(tmp_path, model=_slow_statistics, train=(20 * inputs + 50, labels))
    (result,) = _walk(run, OverfitStage())
    assert result.verdict is Verdict.PASS
    assert result.facts["attempts"] == {"the recipe's optimizer": 1.0}


def test_a_useful_model_of_a_rare_class_passes_evaluation(tmp_path: Path) -> None:
    # It gets a tenth of the examples wrong, like a constant guess, but other ones.
    inputs, labels = blobs(400, seed=1)
    kept = (labels == 0) | (torch.arange(400) < 40)
    run = _run(tmp_path, learning_rate=0.1, val=(inputs[kept], labels[kept]))
    *_, result = _walk(run, TrainStage(), EvaluateStage())
    assert result.finding("above_chance").verdict is Verdict.PASS


def test_sanity_stops_at_missing_outputs(tmp_path: Path) -> None:
    def narrow() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 2))

    (result,) = _walk(_run(tmp_path, model=narrow), SanityStage())
    assert [finding.cause for finding in result.findings] == [Cause.WRONG_OUTPUT_SIZE]
