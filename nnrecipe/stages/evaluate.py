"""The evaluate stage: the best checkpoint on the test set, which is touched here and only here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.spec import Spec
from nnrecipe.data import Preprocessing
from nnrecipe.stages.run import Run
from nnrecipe.training.checkpoint import load_checkpoint
from nnrecipe.training.evaluate import Evaluation, evaluate

SOURCE = "lecture: look at the results"


class EvaluateStage(Spec):
    """Accuracy, loss, per-class figures and the confusion matrix of the best epoch's model.

    Without a test split the validation split takes its place, and the report says so.
    """

    kind: Literal["evaluate"] = "evaluate"

    def run(self, run: Run) -> StageResult:
        """Evaluate with the model and the preprocessing that the checkpoint holds."""
        bench = run.bench
        path = run.checkpoints / "best.pt"
        if not path.exists() and "train" in [result.stage for result in run.results]:
            return StageResult.of(self.kind, {}, [_no_model()])
        if not path.exists():
            raise UserError(
                f"stages: evaluate needs a model, and {path} isn't there: add the train stage"
            )
        checkpoint = load_checkpoint(path, device=run.device)
        model = bench.make_model()
        model.load_state_dict(checkpoint["model"])
        fitted = Preprocessing.from_state(checkpoint["preprocessing"]).to(run.device)
        data = replace(bench.data, preprocessing=fitted)
        split, name = (data.val, "val") if data.test is None else (data.test, "test")
        run.progress.begin(self.kind)
        result = evaluate(
            model,
            data.batches(split, max(run.training.batch_size, 256)),
            bench.make_loss(),
            num_classes=bench.num_classes,
            precision=bench.precision,
        )
        if name == "test":
            run.metrics.update(test_loss=result.loss, test_accuracy=result.accuracy)
        facts = {"split": name, "epoch": checkpoint["epoch"], **_facts(result, data.classes)}
        return StageResult.of(self.kind, facts, _judge(result, name, run.metrics))


def _no_model() -> Finding:
    return Finding(
        check="trained_model",
        verdict=Verdict.FAIL,
        measured="none: the train stage didn't finish an epoch with a finite loss",
        expected="a checkpoint of the best epoch",
        advice="Mend what the train stage reports.",
        source=SOURCE,
    )


def _facts(result: Evaluation, classes: tuple[str, ...]) -> dict[str, Any]:
    rows = zip(classes, result.recall.tolist(), result.precision.tolist(), strict=False)
    return {
        "examples": result.examples,
        "loss": result.loss,
        "accuracy": result.accuracy,
        "per_class": {name: {"recall": r, "precision": p} for name, r, p in rows},
        "classes": list(classes),
        "confusion": result.confusion.tolist(),
    }


def _judge(result: Evaluation, split: str, metrics: dict[str, float]) -> Iterator[Finding]:
    yield _against_guessing(result, split)
    if split == "test" and "val_accuracy" in metrics:
        yield _against_validation(result, metrics["val_accuracy"])


def _against_guessing(result: Evaluation, split: str) -> Finding:
    """A constant guess gets the most frequent class right, and has a mean recall of 1 / C."""
    counts = result.confusion.sum(1)
    guess = float(counts.max() / counts.sum())
    seen = counts > 0
    balanced = float(result.recall[seen].mean())
    chance = 1 / int(seen.sum())
    noise = 3 * math.sqrt(chance * (1 - chance) / result.examples)
    useless = result.accuracy <= guess and balanced <= chance + noise
    return Finding(
        check="above_chance",
        verdict=Verdict.FAIL if useless else Verdict.PASS,
        measured=f"accuracy {result.accuracy:.4f}, mean recall {balanced:.4f} "
        f"on {result.examples} {split} examples",
        expected=f"above a constant guess: {guess:.4f}, {chance:.4f}",
        cause=Cause.UNDERFITTING if useless else None,
        confidence=0.3 if useless else 0.0,
        advice="The model does no better than a constant guess." if useless else "",
        source=SOURCE,
    )


def _against_validation(result: Evaluation, validation: float) -> Finding:
    spread = math.sqrt(max(validation * (1 - validation), 0.01) / result.examples)
    apart = validation - result.accuracy > max(0.05, 5 * spread)
    return Finding(
        check="val_against_test",
        verdict=Verdict.WARN if apart else Verdict.PASS,
        measured=f"{validation:.4f} in validation, {result.accuracy:.4f} in test",
        expected="within 0.05 of each other",
        cause=Cause.DISTRIBUTION_SHIFT if apart else None,
        confidence=0.5 if apart else 0.0,
        advice="The test set differs from what was trained and validated on." if apart else "",
        source=SOURCE,
    )
