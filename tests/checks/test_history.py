"""The verdicts on a training, from made-up records."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from nnrecipe.checks.history import Conditions, Trained, judge_history, worth_trying
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.training.evaluate import Evaluation
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.further import Further, Suspect
from nnrecipe.training.monitors import Reading
from nnrecipe.training.origin import Origin, Place
from nnrecipe.training.scores import ClassScore, ValueScore

LAYERS = ("a", "b", "out")


def _evaluation(right: float, loss: float = 0.5, *, examples: int = 1000) -> Evaluation:
    """Of ten classes, the examples spread evenly, a share of them right."""
    hits = round(right * examples)
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for place in range(10):
        confusion[place, place] = hits // 10 + (place < hits % 10)
        confusion[place, (place + 1) % 10] = examples // 10 - confusion[place, place]
    return Evaluation(loss, examples, ClassScore(10, confusion.flatten()))


def _reading(step: int, **changes: Any) -> Reading:
    ratio, norm = changes.pop("ratio", 1e-3), changes.pop("norm", 1.0)
    dead, saturated = changes.pop("dead", 0.1), changes.pop("saturated", 0.1)
    gradients = changes.pop("gradients", (1.0, 1.0, 1.0))
    fields: dict[str, Any] = {
        "batch_loss": 1.0,
        "lr": 0.1,
        "update_ratio": dict.fromkeys(LAYERS, ratio),
        "weight_norm": dict.fromkeys(LAYERS, norm),
        "gradient_norm": dict(zip(LAYERS, gradients, strict=True)),
        "activation_norm": dict.fromkeys(LAYERS, 1.0),
        "dead_units": {"a": dead, "b": 0.0},
        "saturated_units": {"b": saturated, "out": 1.0},
    }
    return Reading(**(fields | changes))


def _record(epoch: int, loss: float, **changes: Any) -> EpochRecord:
    """An epoch of 100 steps; `at` gives the changes of the readings by step, else `reading`."""
    reading, at = changes.pop("reading", {}), changes.pop("at", None)
    val_loss, right = changes.pop("val_loss", loss), changes.pop("right", 0.8)
    steps = range((epoch - 1) * 100, epoch * 100, 25)
    fields: dict[str, Any] = {
        "epoch": epoch,
        "step": epoch * 100,
        "train_loss": loss,
        "train_accuracy": right,
        "penalty": 0.0,
        "validation": _evaluation(right, val_loss),
        "rate_factor": 1.0,
        "seconds": 1.0,
        "diverged_at": None,
        "monitored": {step: _reading(step, **(at(step) if at else reading)) for step in steps},
        "losses": (loss,) * 100,
    }
    return EpochRecord(**(fields | changes))


def _trained(*records: EpochRecord, start: float = 2.3, **changes: Any) -> Trained:
    conditions = Conditions(epochs=len(records), **changes.pop("conditions", {}))
    counts = changes.pop("per_class", 300)
    outputs = OutputSpec(10, class_counts=(counts,) * 10, examples=10 * counts)
    fields: dict[str, Any] = {
        "records": records,
        "start_loss": start,
        "chance": math.log(10),
        "learning_rate": 0.1,
        "outputs": outputs,
        "conditions": conditions,
    }
    return Trained(**(fields | changes))


def _judge(*records: EpochRecord, **changes: Any) -> dict[str, Finding]:
    findings = list(judge_history(_trained(*records, **changes)))
    found = {finding.check: finding for finding in findings}
    assert len(found) == len(findings)
    return found


HEALTHY = (_record(1, 1.5, right=0.5), _record(2, 1.0, right=0.7), _record(3, 0.8, right=0.75))
STUCK = (_record(1, 2.3, right=0.1), _record(2, 2.3, right=0.1), _record(3, 2.3, right=0.1))
CLEAN = _evaluation(0.8)


def _stuck(**reading: Any) -> list[EpochRecord]:
    return [_record(epoch, 2.3, right=0.1, reading=reading) for epoch in (1, 2, 3)]


def _grown(**changes: tuple[float, float]) -> list[EpochRecord]:
    """A stuck training in which figures go from one value, in the first step, to another."""

    def at(step: int) -> dict[str, Any]:
        return {name: values[step > 0] for name, values in changes.items()}

    return [_record(epoch, 2.3, right=0.1, at=at) for epoch in (1, 2, 3)]


def test_a_loss_that_falls_passes() -> None:
    found = _judge(*HEALTHY, clean=CLEAN)
    assert {"divergence", "learning", "update_ratio", "dead_units", "generalization"} <= set(found)
    assert {finding.verdict for finding in found.values()} == {Verdict.PASS}
    assert worth_trying(_trained(*HEALTHY, clean=CLEAN)) is Suspect.LENGTH


@pytest.mark.parametrize(
    ("losses", "word"), [((2.3, math.nan), "exploding"), ((1.5, math.nan), "unstable")]
)
def test_divergence_at_once_or_after_a_fall(losses: tuple[float, float], word: str) -> None:
    last = _record(2, losses[1], diverged_at=150, validation=None)
    found = _judge(_record(1, losses[0]), last)
    assert list(found) == ["divergence"]
    assert found["divergence"].verdict is Verdict.FAIL
    assert found["divergence"].cause is Cause.LR_TOO_HIGH
    assert found["divergence"].measured.startswith(word)
    assert "step 150" in found["divergence"].measured


@pytest.mark.parametrize(
    ("origin", "cause"),
    [
        (Origin(149, Place.INPUTS), Cause.NAN_INPUT),
        (Origin(149, Place.TARGETS), Cause.NAN_INPUT),
        (Origin(149, Place.GRADIENT, "net.norm", 3.0, "Sqrt", "a.py:3: x"), Cause.NAN_GRADIENT_OP),
        (Origin(149, Place.GRADIENT, "net.norm", 1e30, "Mm"), Cause.LR_TOO_HIGH),
        (Origin(149, Place.FORWARD, "net.norm", 1e20), Cause.LR_TOO_HIGH),
        (Origin(0, Place.FORWARD, "net.norm", 1e20), Cause.EXPLODING_ACTIVATIONS),
        (Origin(149, Place.FORWARD, "net.norm", 3.0), Cause.NON_FINITE),
        (Origin(149, Place.LOSS, "", 30.0), Cause.NON_FINITE),
        (Origin(149, Place.UPDATE, "net.norm.weight", 3.0), Cause.NON_FINITE),
    ],
)
def test_what_was_not_finite_first_tells_the_cause(origin: Origin, cause: Cause) -> None:
    last = _record(2, math.nan, diverged_at=150, validation=None, origin=origin)
    finding = _judge(_record(1, 1.5), last)["divergence"]
    assert finding.cause is cause
    assert str(origin) in finding.measured
    assert finding.where == origin.code


def test_a_validation_loss_alone_that_is_not_finite_is_no_rate() -> None:
    last = _record(2, 1.0, val_loss=math.nan)
    finding = _judge(_record(1, 1.5), last)["divergence"]
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.NON_FINITE


@pytest.mark.parametrize(
    ("records", "verdict", "cause"),
    [
        (_stuck(ratio=1e-6), Verdict.FAIL, Cause.LR_TOO_LOW),
        (_stuck(), Verdict.FAIL, Cause.UNDERFITTING),
        ([_record(1, 2.3, step=30)], Verdict.WARN, Cause.UNDERTRAINED),
        (_stuck(ratio=0.8), Verdict.FAIL, Cause.LR_TOO_HIGH),
        (_grown(norm=(1.0, 100.0)), Verdict.FAIL, Cause.LR_TOO_HIGH),
        (_stuck(ratio=1e-6, clip_factor=1e-4), Verdict.FAIL, Cause.CLIP_TOO_SMALL),
    ],
)
def test_a_loss_that_does_not_fall(
    records: list[EpochRecord], verdict: Verdict, cause: Cause
) -> None:
    found = _judge(*records)
    assert found["learning"].verdict is verdict
    assert found["learning"].cause is cause


@pytest.mark.parametrize(
    ("conditions", "records", "cause"),
    [
        ({"momentum": 0.999}, _stuck(), Cause.MOMENTUM_TOO_HIGH),
        ({"dropout": 0.95}, _stuck(), Cause.DROPOUT_TOO_HIGH),
        ({"decays": True}, _grown(norm=(1.0, 1e-3)), Cause.OVER_REGULARIZED),
        ({"eps": 1.0}, _stuck(damping={"a": 0.99}), Cause.ADAM_EPS),
        ({"eps": 1e-8}, _stuck(damping={"a": 0.99}), Cause.UNDERFITTING),
    ],
)
def test_an_odd_setting_is_the_reason(
    conditions: dict[str, Any], records: list[EpochRecord], cause: Cause
) -> None:
    found = _judge(*records, conditions=conditions)
    assert found["learning"].cause is cause
    healthy = _judge(*HEALTHY, conditions=conditions, clean=CLEAN)
    assert {finding.verdict for finding in healthy.values()} == {Verdict.PASS}


def test_a_pretrained_network_need_not_fall_far() -> None:
    assert _judge(_record(1, 0.30), start=0.301)["learning"].verdict is Verdict.PASS


def test_too_few_samples_say_nothing_of_layers() -> None:
    found = _judge(_record(1, 1.0, monitored={}))
    assert not {"update_ratio", "dead_units", "saturated_units", "gradients_by_depth"} & set(found)


@pytest.mark.parametrize(
    ("changes", "check", "cause"),
    [
        ({"dead": (0.9, 1.0)}, "dead_units", Cause.DEAD_RELU),
        ({"dead": (0.0, 1.0)}, "dead_units", Cause.LR_TOO_HIGH),
        ({"saturated": (0.9, 0.9)}, "saturated_units", Cause.SATURATED_UNITS),
        ({"saturated": (0.0, 0.9)}, "saturated_units", Cause.LR_TOO_HIGH),
        ({"gradients": ((1e-7, 1e-3, 1),) * 2}, "gradients_by_depth", Cause.VANISHING_GRADIENT),
        ({"gradients": ((1e3, 10, 1),) * 2}, "gradients_by_depth", Cause.EXPLODING_GRADIENT),
    ],
)
def test_layers_that_are_stuck_in_a_training_that_is(
    changes: dict[str, Any], check: str, cause: Cause
) -> None:
    finding = _judge(*_grown(**changes))[check]
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is cause
    learning = [
        replace(record, monitored=sick.monitored)
        for record, sick in zip(HEALTHY, _grown(**changes), strict=True)
    ]
    assert _judge(*learning, clean=CLEAN)[check].verdict is Verdict.PASS


def test_a_gradient_that_doubles_again_and_again_explodes() -> None:
    def at(step: int) -> dict[str, Any]:
        return {"gradients": (2.0 ** (step // 25),) * 3}

    records = [_record(epoch, 2.3, right=0.1, at=at) for epoch in (1, 2)]
    assert _judge(*records)["gradients_by_depth"].cause is Cause.EXPLODING_GRADIENT


def test_large_steps_that_kill_units_of_a_network_that_learns() -> None:
    def at(step: int) -> dict[str, Any]:
        return {"ratio": 1e-2, "dead": 0.8} if step else {"ratio": 0.8, "dead": 0.0}

    records = [replace(r, monitored=_record(r.epoch, 1.0, at=at).monitored) for r in HEALTHY]
    finding = _judge(*records, clean=CLEAN)["step_size"]
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.LR_TOO_HIGH)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ((0.5, 0.6, 0.5, 0.6, 0.5), Verdict.WARN),
        ((0.5, 0.6, 0.55, 0.7, 0.75), Verdict.PASS),
        ((0.5, 0.6, 0.59, 0.61, 0.6), Verdict.PASS),
    ],
)
def test_a_training_accuracy_that_swings(accuracies: tuple[float, ...], verdict: Verdict) -> None:
    records = [_record(epoch, 1.0, right=right) for epoch, right in enumerate(accuracies, 1)]
    assert _judge(*records)["oscillation"].verdict is verdict


def test_swings_of_validation_alone_are_no_oscillation() -> None:
    records = [
        _record(epoch, 1.0, right=0.6, validation=_evaluation(right))
        for epoch, right in enumerate((0.5, 0.6, 0.5, 0.6, 0.5), 1)
    ]
    assert _judge(*records)["oscillation"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("suspect", "conditions", "reading", "cause"),
    [
        (Suspect.CLIPPING, {}, {"clip_factor": 1e-3}, Cause.CLIP_TOO_SMALL),
        (Suspect.EPS, {"eps": 0.1}, {"damping": {"a": 0.9}}, Cause.ADAM_EPS),
        (Suspect.MOMENTUM, {"momentum": 0.999}, {}, Cause.MOMENTUM_TOO_HIGH),
    ],
)
def test_a_setting_is_proven_by_what_is_gained_without_it(
    suspect: Suspect, conditions: dict[str, Any], reading: dict[str, Any], cause: Cause
) -> None:
    records = [
        _record(epoch, 1.0 / epoch, right=0.5 + epoch / 20, reading=reading) for epoch in (1, 2, 3)
    ]
    trained = _trained(*records, conditions=conditions, clean=_evaluation(0.65))
    assert worth_trying(trained) is suspect
    for after, verdict in [(0.66, Verdict.PASS), (0.72, Verdict.WARN), (0.8, Verdict.FAIL)]:
        further = Further(suspect, 300, _evaluation(after))
        found = {f.check: f for f in judge_history(replace(trained, further=further))}
        finding = found[f"without_{suspect}"]
        assert finding.verdict is verdict
        assert finding.cause is (None if verdict is Verdict.PASS else cause)


def test_a_schedule_that_ends_learning_early() -> None:
    def at(step: int) -> dict[str, Any]:
        return {"lr": 0.1 if step < 50 else 1e-4}

    records = [_record(epoch, 1.5, right=0.5, at=at, rate_factor=1e-3) for epoch in (1, 2, 3)]
    trained = _trained(*records, clean=_evaluation(0.5))
    assert worth_trying(trained) is Suspect.SCHEDULE
    further = Further(Suspect.SCHEDULE, 300, _evaluation(0.8))
    found = {f.check: f for f in judge_history(replace(trained, further=further))}
    assert found["without_schedule"].cause is Cause.SCHEDULE_TOO_FAST
    late = [
        _record(epoch, 1.5, at=lambda step: {"lr": 0.1 * (1 - step / 300)}) for epoch in (1, 2, 3)
    ]
    assert worth_trying(_trained(*late)) is not Suspect.SCHEDULE


@pytest.mark.parametrize(
    ("epochs", "after", "verdict"),
    [
        (1, 0.72, Verdict.PASS),
        (1, 0.76, Verdict.WARN),
        (4, 0.76, Verdict.PASS),
        (4, 0.9, Verdict.WARN),
    ],
)
def test_a_training_that_was_too_short(epochs: int, after: float, verdict: Verdict) -> None:
    records = [
        _record(n, 1.5 / n, right=0.7, losses=(2.0 / n,) * 50 + (1.5 / n,) * 50)
        for n in range(1, epochs + 1)
    ]
    trained = _trained(*records, clean=_evaluation(0.7))
    assert worth_trying(trained) is Suspect.LENGTH
    further = Further(Suspect.LENGTH, 100, _evaluation(after))
    found = {f.check: f for f in judge_history(replace(trained, further=further))}
    assert found["length"].verdict is verdict
    assert found["length"].cause is (Cause.UNDERTRAINED if verdict is Verdict.WARN else None)


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_factor": 0.01},  # annealed
        {"losses": (1.0,) * 100},  # no longer falling
        {"val_loss": 5.0},  # validation gets worse
    ],
)
def test_what_has_ended_is_not_trained_further(changes: dict[str, Any]) -> None:
    records = [_record(n, 1.5 / n, losses=(2.0 / n,) * 50 + (1.5 / n,) * 50) for n in (1, 2, 3)]
    last = {"losses": (0.6,) * 50 + (0.4,) * 50} | changes
    assert worth_trying(_trained(*records)) is Suspect.LENGTH
    assert worth_trying(_trained(*records[:2], _record(3, 0.5, **last))) is None
    broken = _record(3, math.nan, diverged_at=250, validation=None)
    assert worth_trying(_trained(*records[:2], broken)) is None


OVERFITTED = [
    _record(1, 1.0, val_loss=1.0, validation=_evaluation(0.6, 1.0)),
    _record(2, 0.3, validation=_evaluation(0.6, 1.1)),
    _record(3, 0.1, validation=_evaluation(0.6, 1.5)),
    _record(4, 0.1, validation=_evaluation(0.6, 1.6)),
]


@pytest.mark.parametrize(
    ("per_class", "cause"), [(300, Cause.OVERFITTING), (30, Cause.TOO_LITTLE_DATA)]
)
def test_a_rising_validation_loss_with_a_gap(per_class: int, cause: Cause) -> None:
    finding = _judge(*OVERFITTED, per_class=per_class)["generalization"]
    assert finding.verdict is Verdict.WARN
    assert finding.cause is cause


def test_one_epoch_in_which_the_validation_loss_is_high_is_no_overfitting() -> None:
    *before, last = OVERFITTED
    calm = [replace(record, validation=_evaluation(0.6, 1.0)) for record in before]
    assert _judge(*calm, last, per_class=300)["generalization"].verdict is Verdict.PASS


def test_the_gap_is_taken_on_clean_training_examples() -> None:
    records = [_record(n, 1.0, right=0.3, validation=_evaluation(0.6, 1.0)) for n in (1, 2, 3)]
    clean = _evaluation(0.95, 0.1)
    assert _judge(*records, clean=clean, per_class=300)["generalization"].verdict is Verdict.PASS
    few = _judge(*records, clean=clean, per_class=30)["generalization"]
    assert few.cause is Cause.TOO_LITTLE_DATA


@pytest.mark.parametrize(
    ("conditions", "cause"),
    [
        ({"dropout": 0.9}, Cause.DROPOUT_TOO_HIGH),
        ({"augmented": True}, Cause.AUGMENTATION_TOO_STRONG),
        ({"augmented": True, "dropout": 0.9}, Cause.DROPOUT_TOO_HIGH),
        ({"norm_batch": 2}, Cause.BN_SMALL_BATCH),
        ({"norm_batch": 64, "dropout": 0.9}, Cause.DROPOUT_TOO_HIGH),
        ({"norm_batch": 64}, None),
        ({"mixed": True}, None),
    ],
)
def test_training_that_is_much_harder_than_evaluation(
    conditions: dict[str, Any], cause: Cause | None
) -> None:
    records = [
        _record(n, 1.0, train_accuracy=0.4, validation=_evaluation(0.7, 1 / n)) for n in (1, 2, 3)
    ]
    found = _judge(*records, conditions=conditions, clean=_evaluation(0.72))
    assert (found["training_gap"].cause if "training_gap" in found else None) is cause


@pytest.mark.parametrize(
    ("augmented", "cause"), [(False, Cause.LABEL_NOISE), (True, Cause.AUGMENTATION_TOO_STRONG)]
)
def test_training_examples_that_are_harder_than_those_of_validation(
    augmented: bool, cause: Cause
) -> None:
    records = [_record(n, 1.0, right=0.5, validation=_evaluation(0.7, 1 / n)) for n in (1, 2, 3)]
    conditions = {"augmented": augmented}
    found = _judge(*records, conditions=conditions, clean=_evaluation(0.52))
    assert (found["training_gap"].verdict, found["training_gap"].cause) == (Verdict.WARN, cause)


@pytest.mark.parametrize(
    ("right", "verdict", "cause"),
    [
        (0.01, Verdict.FAIL, Cause.LABEL_MAP_MISMATCH),
        (0.1, Verdict.WARN, Cause.INPUT_DESTROYED),
        (0.5, None, None),
    ],
)
def test_a_validation_split_that_the_model_does_not_know(
    right: float, verdict: Verdict | None, cause: Cause | None
) -> None:
    records = [_record(n, 1.0 / n, validation=_evaluation(right, 3.0)) for n in (1, 2)]
    found = _judge(*records, clean=_evaluation(0.99))
    if verdict is None:
        assert "strange_validation" not in found
    else:
        finding = found["strange_validation"]
        assert (finding.verdict, finding.cause) == (verdict, cause)


@pytest.mark.parametrize(("batch", "cause"), [(64, Cause.BN_STATS), (0, None)])
@pytest.mark.parametrize("clean", [0.3, 0.7])
def test_a_model_that_is_wrong_in_eval_mode_alone(
    batch: int, cause: Cause | None, clean: float
) -> None:
    records = [_record(n, 1.0, right=0.8, validation=_evaluation(clean)) for n in (1, 2, 3)]
    found = _judge(*records, conditions={"norm_batch": batch}, clean=_evaluation(clean))
    assert ("eval_mode" in found) is (clean < 0.5)
    if "eval_mode" in found:
        assert found["eval_mode"].cause is cause


@pytest.mark.parametrize(("batch", "sick"), [(2, True), (32, False)])
def test_batch_norms_over_a_few_examples(batch: int, sick: bool) -> None:
    records = [_record(n, 1.0, right=right) for n, right in enumerate((0.7, 0.5, 0.7), 1)]
    found = _judge(*records, conditions={"norm_batch": batch}, clean=CLEAN)
    assert ("small_batch_norm" in found) is sick
    if sick:
        assert found["small_batch_norm"].cause is Cause.BN_SMALL_BATCH


def test_an_average_that_early_stopping_left_no_epochs_for() -> None:
    trained = _trained(*HEALTHY)
    for first, planned, told in [(8, 10, True), (2, 10, False), (8, 3, False)]:
        conditions = Conditions(epochs=planned, averages_from=first)
        found = [f.check for f in judge_history(replace(trained, conditions=conditions))]
        assert ("averaging" in found) is told


@pytest.mark.parametrize(("end", "verdict"), [(0.5, Verdict.WARN), (0.22, Verdict.PASS)])
def test_a_regression_overfits_by_its_losses(end: float, verdict: Verdict) -> None:
    score = ValueScore(1)
    score.add(torch.zeros(10, 1), torch.randn(10, 1))
    records = [
        _record(epoch, loss, train_accuracy=None, validation=Evaluation(val_loss, 10, score))
        for epoch, loss, val_loss in [(1, 0.5, 0.4), (2, 0.3, 0.2), (3, 0.2, end), (4, 0.2, end)]
    ]
    outputs = OutputSpec(1, task="regression", examples=100)
    assert _judge(*records, outputs=outputs)["generalization"].verdict is verdict
