"""The evaluate stage: the best checkpoint on the test set, which is touched here and only here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

from nnrecipe.checks.history import LEAST_STEPS
from nnrecipe.core.causes import Cause
from nnrecipe.core.device import evaluation_batch
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import Spec
from nnrecipe.data import Preprocessing
from nnrecipe.stages.ensemble import ENSEMBLE_FILE, measure
from nnrecipe.stages.mistakes import mistake_facts
from nnrecipe.stages.run import Run
from nnrecipe.training.checkpoint import load_checkpoint, save_checkpoint
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.mistakes import Mistakes
from nnrecipe.training.scores import ClassScore, LabelScore, OneScore, TaskScores, ValueScore

SOURCE = "lecture: look at the results"


class EvaluateStage(Spec):
    """Loss, accuracy or error, per class, label or value, of the best epoch's model.

    Without a test split the validation split takes its place, and the report says so. The worst
    mistakes are kept to be looked at.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["evaluate"] = "evaluate"

    def run(self, run: Run) -> StageResult:
        """Evaluate with the model and the preprocessing that the checkpoint holds."""
        bench = run.bench
        path = run.checkpoints / "best.pt"
        if not path.exists() and "train" in [result.stage for result in run.results]:
            return StageResult.of(self.kind, {}, [_no_model()])
        if not path.exists() and bench.pretrained is None:
            raise UserError(
                f"stages: evaluate needs a model, and {path} isn't there: add the train stage"
            )
        if not path.exists():
            save_checkpoint(path, _as_given(run))
        checkpoint = load_checkpoint(path, device=run.device)
        model = bench.make_model()
        model.load_state_dict(checkpoint["model"])
        fitted = Preprocessing.from_state(checkpoint["preprocessing"]).to(run.device)
        data = replace(bench.data, preprocessing=fitted)
        split, name = (data.val, "val") if data.test is None else (data.test, "test")
        run.progress.begin(self.kind)
        mistakes = Mistakes(bench.outputs)
        result = evaluate(
            model,
            data.batches(split, evaluation_batch(run.device)),
            bench.make_loss(),
            outputs=bench.outputs,
            precision=bench.precision,
            mistakes=mistakes,
        )
        if name == "test":
            run.metrics |= {f"test_{figure}": value for figure, value in result.figures().items()}
        facts = {"split": name, "epoch": checkpoint["epoch"], **_facts(result, data.classes)}
        facts["worst_mistakes"] = mistake_facts(mistakes.worst_first(), split, data, run)
        judged = [*_judge(result, name, run, steps=checkpoint["step"])]
        if name == "test" and (run.checkpoints / ENSEMBLE_FILE).exists():
            together, found = measure(run, data, split, name)
            facts |= {"ensemble": together.pop("models"), "ensemble_test": together}
            judged += found
        return StageResult.of(self.kind, facts, judged)


def _as_given(run: Run) -> dict[str, Any]:
    """A checkpoint of the pretrained model that nobody has trained further.

    Raises `UserError` if its head is new: it would only guess.
    """
    bench = run.bench
    assert bench.pretrained is not None
    if bench.pretrained.replaced:
        head = ", ".join(bench.pretrained.replaced)
        raise UserError(f"stages: evaluate: the head ({head}) is new: add the train stage")
    return {
        "model": bench.make_model().state_dict(),
        **run.about_model(),
        "epoch": 0,
        "step": 0,
        "figures": {},
    }


def _no_model() -> Finding:
    return Finding(
        check="trained_model",
        verdict=Verdict.FAIL,
        measured="none: the train stage didn't finish an epoch with a finite loss",
        expected="a checkpoint of the best epoch",
        advice="Mend what the train stage reports.",
        source=SOURCE,
    )


def _facts(result: Evaluation, names: tuple[str, ...]) -> dict[str, Any]:
    """The figures of the whole split, and of each class, label or value."""
    facts: dict[str, Any] = {"examples": result.examples, **result.figures()}
    if not isinstance(result.score, TaskScores):
        return facts | _detail(result.score, names)
    own = {head.name: result.score.scores[head.name] for head in result.score.heads}
    details = {head.name: _detail(own[head.name], head.names) for head in result.score.heads}
    rows = {name: {**score.figures(), "loss": result.losses[name]} for name, score in own.items()}
    drawn = {name: detail for name, detail in details.items() if "confusion" in detail}
    for name, detail in details.items():
        listed = {key: value for key, value in detail.items() if key.startswith("per_")}
        facts |= {f"{name}_{key}": value for key, value in listed.items()}
    return facts | {"tasks": rows, "confusions": drawn}


def _detail(score: OneScore, names: tuple[str, ...]) -> dict[str, Any]:
    """The figures of each class, label or value of one task."""
    facts: dict[str, Any] = {}
    match score:
        case ClassScore():
            rows = zip(names, score.recall.tolist(), score.precision.tolist(), strict=False)
            facts["per_class"] = {name: {"recall": r, "precision": p} for name, r, p in rows}
            facts |= {"classes": list(names), "confusion": score.confusion.tolist()}
        case LabelScore():
            rows = zip(names, score.f1.tolist(), score.errors.tolist(), strict=True)
            facts["per_label"] = {name: {"f1": f1, "errors": count} for name, f1, count in rows}
        case ValueScore():
            figures = zip(score.r2.tolist(), score.mae.tolist(), score.rmse.tolist(), strict=True)
            heads = ("r2", "mae", "rmse")
            facts["per_value"] = {
                name: dict(zip(heads, row, strict=True))
                for name, row in zip(names, figures, strict=True)
            }
    return facts


def _judge(result: Evaluation, split: str, run: Run, *, steps: int) -> Iterator[Finding]:
    trained = steps >= LEAST_STEPS or run.bench.pretrained is not None
    for found in _above_chance(result, split, run.bench.outputs):
        yield found if trained else _excused(found, steps)
    name, reached = result.headline
    if split == "test" and f"val_{name}" in run.metrics:
        sizes = (result.examples, len(run.bench.data.val))
        yield _against_validation(name, reached, run.metrics[f"val_{name}"], sizes)


def _above_chance(result: Evaluation, split: str, outputs: OutputSpec) -> Iterator[Finding]:
    """The score, or that of each of several tasks, against a constant guess."""
    if not isinstance(result.score, TaskScores):
        yield _against_chance(result.score, result.examples, split, outputs)
        return
    for head in outputs.heads:
        found = _against_chance(
            result.score.scores[head.name], result.examples, split, head.outputs
        )
        yield found.model_copy(update={"measured": f"{head.name}: {found.measured}"})


def _against_chance(score: OneScore, examples: int, split: str, outputs: OutputSpec) -> Finding:
    match score:
        case ClassScore():
            return _against_guessing(score, examples, split)
        case LabelScore():
            shares = [count / outputs.examples for count in outputs.class_counts]
            return _against_constant_labels(score, shares, split)
        case ValueScore():
            return _against_the_mean(score, split)


def _useless(measured: str, expected: str, *, useless: bool) -> Finding:
    return Finding(
        check="above_chance",
        verdict=Verdict.FAIL if useless else Verdict.PASS,
        measured=measured,
        expected=expected,
        cause=Cause.UNDERFITTING if useless else None,
        confidence=0.3 if useless else 0.0,
        advice="The model does no better than a constant guess." if useless else "",
        source=SOURCE,
    )


def _excused(found: Finding, steps: int) -> Finding:
    """After a few steps a sound model may know nothing yet: that is no more than a warning."""
    if found.verdict is not Verdict.FAIL:
        return found
    advice = (
        f"The model does no better than a constant guess after {steps} steps: train for longer."
    )
    changes = {"verdict": Verdict.WARN, "cause": Cause.UNDERTRAINED, "advice": advice}
    return found.model_copy(update=changes)


def _against_guessing(score: ClassScore, examples: int, split: str) -> Finding:
    """A constant guess gets the most frequent class right, and has a mean recall of 1 / C."""
    counts = score.confusion.sum(1)
    guess = float(counts.max() / counts.sum())
    seen = counts > 0
    balanced = float(score.recall[seen].mean())
    chance = 1 / int(seen.sum())
    noise = 3 * math.sqrt(chance * (1 - chance) / examples)
    return _useless(
        f"accuracy {score.accuracy:.4f}, mean recall {balanced:.4f} on {examples} {split} examples",
        f"above a constant guess: {guess:.4f}, {chance:.4f}",
        useless=score.accuracy <= guess and balanced <= chance + noise,
    )


def _against_constant_labels(score: LabelScore, shares: list[float], split: str) -> Finding:
    """The best constant guess says of each label what most training examples say.

    Where labels are rare it is right nearly always, but it finds none of them: its F1 is 0.
    """
    figures = score.figures()
    guess = sum(max(share, 1 - share) for share in shares) / len(shares)
    said = sum(2 * share / (1 + share) if share > 0.5 else 0.0 for share in shares) / len(shares)
    return _useless(
        f"accuracy {figures['accuracy']:.4f}, F1 {figures['f1']:.4f} "
        f"on {score.examples} {split} examples",
        f"above a constant guess: {guess:.4f}, {said:.4f}",
        useless=figures["accuracy"] <= guess and figures["f1"] <= said + 0.01,
    )


def _against_the_mean(score: ValueScore, split: str) -> Finding:
    r2 = score.figures()["r2"]
    return _useless(
        f"R2 {r2:.4f} on {score.examples} {split} examples",
        "above 0, which the targets' mean would reach",
        useless=r2 <= 0,
    )


def _against_validation(
    name: str, reached: float, validation: float, sizes: tuple[int, int]
) -> Finding:
    """Both figures are drawn from samples of these sizes, and vary as shares of them do."""
    spread = math.sqrt(max(validation * (1 - validation), 0.01) * sum(1 / size for size in sizes))
    allowed = max(0.05, 5 * spread)
    apart = validation - reached > allowed
    return Finding(
        check="val_against_test",
        verdict=Verdict.WARN if apart else Verdict.PASS,
        measured=f"{name} {validation:.4f} in validation, {reached:.4f} in test",
        expected=f"in test no more than {allowed:.2g} below validation",
        cause=Cause.DISTRIBUTION_SHIFT if apart else None,
        confidence=0.5 if apart else 0.0,
        advice="The test set differs from what was trained and validated on." if apart else "",
        source=SOURCE,
    )
