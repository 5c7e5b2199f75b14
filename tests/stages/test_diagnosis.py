"""The last stage: silent where nothing is wrong, and an experiment where a cause is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from samples import make_bench
from torch import Tensor, nn

from nnrecipe.checks.reference import judge_against_reference
from nnrecipe.core.causes import Cause
from nnrecipe.core.diagnosis import diagnose_stages
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Silence
from nnrecipe.schedulers import Constant
from nnrecipe.stages import Run
from nnrecipe.stages.diagnosis import DiagnosisStage
from nnrecipe.stages.walk import walk
from nnrecipe.training import TrainingSpec


def _run(folder: Path, results: list[StageResult], **changes: Any) -> Run:
    logbook = Logbook(folder, NoTracking())
    with logbook:  # nothing is written into it
        pass
    return Run(
        bench=make_bench(**changes),
        training=TrainingSpec(epochs=2, batch_size=32),
        scheduler=Constant(),
        early_stopping=None,
        folder=folder,
        logbook=logbook,
        progress=Silence(),
        recipe={},
        results=results,
    )


def _result(stage: str, verdict: Verdict, cause: Cause | None, confidence: float) -> StageResult:
    finding = Finding(
        check="c",
        verdict=verdict,
        measured="",
        expected="",
        cause=cause,
        confidence=confidence,
    )
    return StageResult.of(stage, {}, [finding])


def _smothered() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Dropout(0.99), nn.Linear(16, 4)
    )


def test_nothing_is_tried_where_nothing_is_wrong(tmp_path: Path) -> None:
    result = DiagnosisStage().run(_run(tmp_path, [_result("train", Verdict.PASS, None, 0.0)]))
    assert result.verdict is Verdict.PASS
    assert "experiments" not in result.facts


def test_a_failed_training_is_explained_by_an_experiment(tmp_path: Path) -> None:
    failed = _result("train", Verdict.FAIL, Cause.UNDERFITTING, 0.3)
    result = DiagnosisStage().run(_run(tmp_path, [failed], model=_smothered))
    assert result.verdict is Verdict.FAIL
    assert Cause.DROPOUT_TOO_HIGH in {finding.cause for finding in result.findings}
    best = diagnose_stages([failed, result])[0]
    assert best.cause is Cause.DROPOUT_TOO_HIGH
    assert "train/c" in best.evidence
    rows = {row["experiment"]: row for row in result.facts["experiments"]}
    assert rows["without dropout"]["verdict"] == "helps"
    assert rows["without dropout"]["after"] > rows["without dropout"]["before"]


def test_a_symptom_calls_for_what_accounts_for_it(tmp_path: Path) -> None:
    def adam(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=lr, eps=10.0)

    symptom = _result("lr_probe", Verdict.WARN, Cause.LR_TOO_LOW, 0.6)
    run = _run(tmp_path, [symptom], make_optimizer=adam, learning_rate=1e-3)
    result = DiagnosisStage().run(run)
    assert result.verdict is Verdict.WARN  # nothing has failed
    assert diagnose_stages([symptom, result])[0].cause is Cause.ADAM_EPS


def test_a_proof_leaves_nothing_to_try(tmp_path: Path) -> None:
    proved = _result("sanity", Verdict.FAIL, Cause.SIGN_FLIPPED, 0.95)
    result = DiagnosisStage().run(_run(tmp_path, [proved]))
    assert "experiments" not in result.facts
    assert "name their causes" in result.findings[0].measured


def test_without_a_budget_nothing_is_tried(tmp_path: Path) -> None:
    failed = _result("train", Verdict.FAIL, Cause.UNDERFITTING, 0.3)
    result = DiagnosisStage(budget=0.0).run(_run(tmp_path, [failed], model=_smothered))
    assert "experiments" not in result.facts


def test_the_budget_ends_the_experiments(tmp_path: Path) -> None:
    failed = _result("train", Verdict.FAIL, Cause.UNDERFITTING, 0.3)
    result = DiagnosisStage(budget=1e-6).run(_run(tmp_path, [failed], model=_smothered))
    assert result.facts["experiments"] == []


def test_a_network_that_refuses_an_experiment_is_left_in_peace(tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        """Runs with the batches that it knows, and no others."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.last = nn.BatchNorm1d(36), nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            if self.training and len(x) > 4:
                raise RuntimeError("only small batches")
            return self.last(self.norm(x.flatten(1)))

    failed = _result("train", Verdict.FAIL, Cause.UNDERFITTING, 0.3)
    run = _run(tmp_path, [failed], model=Stubborn, batch_size=4)
    result = DiagnosisStage().run(run)
    assert "batches 16 times as large" not in [
        row["experiment"] for row in result.facts["experiments"]
    ]


def test_the_random_generators_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    failed = _result("train", Verdict.FAIL, Cause.UNDERFITTING, 0.3)
    DiagnosisStage().run(_run(tmp_path, [failed], model=_smothered))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_below_a_simple_classifier_is_a_symptom() -> None:
    results = [
        StageResult.of("data", {"reference_accuracy": 0.8}, []),
        StageResult.of("train", {}, []),
    ]
    short = judge_against_reference(results, {"val_accuracy": 0.5}, examples=1000)
    assert short is not None
    assert (short.verdict, short.cause) == (Verdict.WARN, Cause.UNDERFITTING)
    even = judge_against_reference(results, {"val_accuracy": 0.70}, examples=1000)
    assert even is not None
    assert even.verdict is Verdict.PASS
    assert judge_against_reference(results[:1], {"val_accuracy": 0.5}, examples=1000) is None


def test_a_closed_gate_leaves_the_diagnosis_to_do(tmp_path: Path) -> None:
    class Failing(DiagnosisStage):
        kind: Any = "sanity"

        def run(self, run: Run) -> StageResult:
            return _result("sanity", Verdict.FAIL, Cause.SIGN_FLIPPED, 0.95)

    class Never(DiagnosisStage):
        kind: Any = "train"

        def run(self, run: Run) -> StageResult:
            raise AssertionError("the gate is closed")

    run = _run(tmp_path, [])
    stages = [Failing(), Never(), DiagnosisStage()]
    assert [r.stage for r in walk(run, stages, gates=["sanity"])] == ["sanity", "diagnosis"]
