"""The benchmark of the diagnosis: its table, the other tools' rules, the scores, and a slice."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from nnrecipe.core.causes import Cause
from nnrecipe.recipe import load
from zoo.case import Case, for_seed, merged
from zoo.controls import CONTROLS, controls
from zoo.extra import extra
from zoo.faults import faults
from zoo.figures import Numbers, Snapshot
from zoo.healthy import healthy
from zoo.rules import MEANINGS, TOOLS
from zoo.scores import OURS, Answer, Scored, alarms, harm, tally
from zoo.tables import Results, sheets
from zoo.telemetry import Telemetry, train

SCRIPT = Path(__file__).parents[1] / "scripts" / "fault_zoo"
CASES = [*controls(), *faults(), *healthy(), *extra()]
ENTRIES = [
    *(f"D{number}" for number in (1, 3, 4, 5, 6, 8, 9, 12, 14, 15, 17, 18)),
    *(f"A{number}" for number in (1, 3, 5, 7, 9, 10, 12, 14, 15, 17, 19, 20, 21, 22, 24, 25)),
    *(f"S{number}" for number in (1, 2, 3, 4, 8)),
    *(f"H{number}" for number in (1, 3, 5, 6, 9)),
]


def written(case: Case, folder: Path) -> Path:
    path = folder / f"{case.name}.yaml"
    path.write_text(yaml.safe_dump(for_seed(case.config, 0, "digits")))
    return path


def test_every_entry_of_the_zoo_has_several_cases() -> None:
    entries = [case.entry for case in faults()]
    assert list(dict.fromkeys(entries)) == ENTRIES
    assert all(entries.count(entry) >= 2 for entry in ENTRIES)
    assert [case.entry for case in healthy()] == [f"N{number}" for number in range(1, 21)]


def test_causes_and_meanings_are_the_products_own_words() -> None:
    words = set(Cause)
    assert {cause for case in CASES for cause in case.causes} <= words
    assert {cause for rules in MEANINGS.values() for of in rules.values() for cause in of} <= words
    named = {case.causes[0] for case in (*faults(), *extra())}
    # What no fault can show alone: it is always another cause's effect, or the recipe refuses it.
    assert words - named <= {"vanishing_gradient", "exploding_gradient", "too_deep", "non_finite",
                             "reg_inactive", "exploding_activations"}  # fmt: skip


def test_names_are_unique_and_controls_exist() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.control for case in (*faults(), *extra())} <= set(names)
    assert all(not case.causes for case in (*controls(), *healthy()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recipe_is_valid_and_differs_from_its_control(case: Case, tmp_path: Path) -> None:
    assert load(written(case, tmp_path)).recipe.seed == 0
    if case.control is not None:
        assert case.config != CONTROLS[case.control.removeprefix("control-")]


def test_merging_replaces_a_section_of_another_kind() -> None:
    base = {"optimizer": {"kind": "sgd", "lr": 0.1}, "training": {"epochs": 2, "batch_size": 8}}
    changed = merged(base, {"optimizer": {"kind": "adam"}, "training": {"epochs": 3}})
    assert changed == {"optimizer": {"kind": "adam"}, "training": {"epochs": 3, "batch_size": 8}}
    assert base["training"] == {"epochs": 2, "batch_size": 8}


# The rules of other tools


def numbers(**changes: float) -> Numbers:
    usual = {"mean": 0.01, "mean_size": 0.05, "largest": 0.5, "variance": 0.01, "norm": 1.0}
    fields = {"finite": True, "zeros": 0.0, "middle": 0.1, **usual, **changes}
    return Numbers(**fields)  # type: ignore[arg-type]


def shown(
    epochs: int = 6, gradients: tuple[Numbers, ...] | None = None, **changes: object
) -> Telemetry:
    """A training without anything that a rule could object to, but for the changes."""
    first, last = gradients or (numbers(), numbers())
    shots = [
        Snapshot(
            weights={"a": numbers(mean=0.01 * (1 + epoch)), "b": numbers(mean=0.02 * (1 + epoch))},
            gradients={
                "a": replace(first, mean=first.mean * (1 + epoch)),
                "b": replace(last, mean=last.mean * (1 + epoch)),
            },
            updates={}, unchanged={}, activations={},
            layer_means={"a": 0.1 * (1 + epoch), "b": 0.2 * (1 + epoch)},
        )
        for epoch in range(epochs)
    ]  # fmt: skip
    usual: dict[str, object] = {
        "images": numbers(),
        "images_range": (-1.0, 1.0),
        "counts": [10, 10],
        "layers": [nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)],
        "learning_rate": 0.005,
        "takes_logits": True,
        "ends_in_probabilities": False,
        "planned_epochs": epochs,
        "epochs": shots,
        "train_loss": [1 / (1 + epoch) for epoch in range(epochs)],
        "val_loss": [1.05 / (1 + epoch) for epoch in range(epochs)],
        "train_accuracy": [0.8 + 0.02 * epoch for epoch in range(epochs)],
        "val_accuracy": [0.78 + 0.02 * epoch for epoch in range(epochs)],
        "recalls": [0.9, 0.9],
    }
    return Telemetry(**(usual | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("tool", TOOLS)
def test_no_rule_fires_on_what_their_authors_call_healthy(tool: str) -> None:
    assert TOOLS[tool](shown()) == []


STUCK = {"train_accuracy": [0.1] * 6, "val_accuracy": [0.1] * 6}
SICK: list[tuple[str, str, dict[str, object]]] = [
    ("AutoTrainer", "gradient_explode", {"train_loss": [1.0, float("nan")] * 3}),
    ("AutoTrainer", "gradient_vanish",
     STUCK | {"gradients": (numbers(norm=1e-6), numbers(norm=1.0))}),
    ("AutoTrainer", "gradient_explode",
     STUCK | {"gradients": (numbers(norm=100.0), numbers(norm=1.0))}),
    ("AutoTrainer", "dying_relu", STUCK | {"gradients": (numbers(zeros=0.9), numbers(zeros=0.8))}),
    ("AutoTrainer", "slow_convergence", STUCK),
    ("AutoTrainer", "oscillating_loss", {"train_accuracy": [0.8, 0.9, 0.75, 0.9, 0.75, 0.9]}),
    ("DeepDiagnosis", "change_last_activation", {"layers": [nn.Linear(2, 2), nn.Softmax(1)]}),
    ("DeepDiagnosis", "change_layers",
     {"gradients": (numbers(mean_size=1e-9), numbers()), "learning_rate": 1e-3}),
    ("DeepDiagnosis", "change_loss", {"gradients": (numbers(), numbers(mean=0.0))}),
    ("DeepDiagnosis", "normalize_data",
     {"train_loss": [1.0] * 6, "images_range": (0.0, 255.0), "learning_rate": 1e-3}),
    ("UMLAUT", "nan_input", {"images": numbers(finite=False)}),
    ("UMLAUT", "input_not_normalized", {"images_range": (0.0, 255.0)}),
    ("UMLAUT", "missing_activations", {"layers": [nn.Linear(2, 2), nn.Linear(2, 2)]}),
    ("UMLAUT", "no_softmax", {"takes_logits": False}),
    ("UMLAUT", "learning_rate_high", {"learning_rate": 0.02}),
    ("UMLAUT", "high_dropout", {"layers": [nn.Linear(2, 2), nn.Dropout(0.6), nn.ReLU(),
                                           nn.Linear(2, 2)]}),
    ("UMLAUT", "overfitting", {"val_loss": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]}),
    ("UMLAUT", "suspicious_validation_accuracy", {"val_accuracy": [0.99] * 6}),
    ("SageMaker Debugger", "ExplodingTensor", {"train_loss": [1.0, float("nan")] * 3}),
    ("SageMaker Debugger", "VanishingGradient", {"gradients": (numbers(mean_size=1e-9),) * 2}),
    ("SageMaker Debugger", "ClassImbalance", {"counts": [1000, 10]}),
    ("SageMaker Debugger", "LossNotDecreasing", {"train_loss": [1.0, 0.9, 0.95, 0.8, 0.7, 0.6]}),
    ("SageMaker Debugger", "Overfit", {"val_loss": [1.0, 0.7, 0.6, 0.5, 0.4, 0.4]}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "rule", "changes"), SICK, ids=lambda value: str(value)[:20])
def test_rule_fires_on_its_symptom(tool: str, rule: str, changes: dict[str, object]) -> None:
    fired = TOOLS[tool](shown(**changes))  # type: ignore[arg-type]
    assert rule in fired
    assert set(fired) <= set(MEANINGS[tool])


def test_telemetry_learns_and_sees_saturation_and_dead_units(tmp_path: Path) -> None:
    sound, dead, deep = (
        next(case for case in faults() if case.name == name)
        for name in ("H6-mlp", "A10-own-mlp", "A5-own-mlp")
    )
    config = merged(sound.config, {"training": {"epochs": 6}})
    seen = train(written(replace(sound, config=config), tmp_path))
    assert seen.final_accuracy > 0.8
    assert seen.train_loss == sorted(seen.train_loss, reverse=True)
    assert (seen.takes_logits, seen.ends_in_probabilities) == (True, False)
    assert len(seen.epochs) == len(seen.val_loss) == 6
    seen = train(written(dead, tmp_path))
    assert "DeadRelu" in TOOLS["SageMaker Debugger"](seen)
    assert TOOLS["AutoTrainer"](seen) == ["dying_relu"]
    seen = train(written(deep, tmp_path))
    assert TOOLS["AutoTrainer"](seen) == ["gradient_vanish"]


def test_telemetry_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    train(written(next(case for case in faults() if case.entry == "H6"), tmp_path))
    assert torch.equal(state, torch.random.get_rng_state())


# The scores


def scored(
    name: str = "A7", *, seed: int = 0, verdict: str = "fail", named: tuple[bool, ...] = (True,),
    accuracy: float = 0.1, must_hurt: bool = True, kind: str = "fault",
) -> Scored:  # fmt: skip
    case = Case(name, "x", {}, kind, ("zero_init",), control="control-x", must_hurt=must_hurt)  # type: ignore[arg-type]
    others = {tool: Answer("pass", ()) for tool in TOOLS}
    answers = {OURS: Answer(verdict, named), **others}
    return Scored(case, seed, answers, ("zero_init",), accuracy, 1.0)


def test_tally_counts_detection_ranks_and_precision() -> None:
    rows = [
        scored(named=(True, False)),
        scored(named=(False, False, True), verdict="warn"),
        scored(named=(False, False, False, True)),
        scored(named=(), verdict="pass"),
        scored(named=(False,), must_hurt=False),  # asked for detection alone
    ]
    found = tally(rows, OURS)
    assert (found.trials, found.detection, found.top1, found.top3) == (5, 0.8, 0.25, 0.5)
    assert found.precision == pytest.approx(3 / 9)
    assert tally(rows, "UMLAUT").detection == 0
    assert tally(rows, "UMLAUT").precision is None


def test_a_fault_counts_if_it_hurts_on_every_seed_alike() -> None:
    control = [scored(kind="control", seed=seed, accuracy=0.8 + 0.01 * seed) for seed in range(3)]
    worse = [scored(seed=seed, accuracy=0.5 + 0.02 * seed) for seed in range(3)]
    mixed = [scored(seed=seed, accuracy=0.8 + 0.1 * (seed - 1)) for seed in range(3)]
    found = harm(worse, control, must_hurt=True)
    assert found.difference == pytest.approx(0.29)
    assert found.counts
    assert found.p is not None
    assert found.p < 0.01
    assert not harm(mixed, control, must_hurt=True).counts
    assert harm(mixed, control, must_hurt=False).counts
    assert not harm(worse, [], must_hurt=True).counts
    assert harm(worse[:1], control, must_hurt=True).p is None


def test_alarms_tell_fail_warn_and_error_apart() -> None:
    verdicts = ("pass", "warn", "warn", "fail", "error")
    rows = [scored(verdict=verdict, kind="healthy") for verdict in verdicts]
    found = alarms(rows, OURS)
    assert (found.trials, found.fail, found.warn, found.error) == (5, 1, 2, 1)


def test_what_does_not_hurt_is_in_no_total() -> None:
    control = [replace(scored("control", seed=s, accuracy=0.9, kind="control")) for s in range(3)]
    faulty = [scored("A7", seed=seed, accuracy=0.1) for seed in range(3)]
    harmless = [scored("A9", seed=seed, accuracy=0.9, verdict="pass") for seed in range(3)]
    made = {sheet.title: sheet for sheet in sheets(Results([*control, *faulty, *harmless]))}
    by_case = made["The zoo's faults, case by case (nnrecipe)"]
    assert [row[4] for row in by_case.rows] == ["yes", "no"]
    assert made["The zoo's faults: all runs that count"].rows[0][:3] == (OURS, "3", "100")
    assert "| nnrecipe | 3 | 100 |" in made["The zoo's faults: all runs that count"].markdown()


@pytest.mark.slow
def test_slice_runs_through_the_command_and_resumes(tmp_path: Path) -> None:
    """A few cases on data that are always there; a second call has nothing left to do."""
    command = [sys.executable, str(SCRIPT), "--slice", "--output", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    results = {path.parts[-3]: json.loads(path.read_text())
               for path in tmp_path.glob("*/seed-0/nnrecipe.json")}  # fmt: skip
    assert results["D1-mlp-tensors"]["causes"][0] == "input_unscaled"
    assert results["H1-mlp"]["verdict"] == "fail"
    assert results["N14-mlp-adamw"]["verdict"] == "pass"
    assert all(result["verdict"] != "error" for result in results.values())
    trained = json.loads((tmp_path / "control-mlp" / "seed-0" / "training.json").read_text())
    assert trained["accuracy"] > 0.85
    again = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert re.search(r"8 trials of 8 cases, 0 to do", again.stdout)
    assert (
        first.stdout.split("The zoo's faults", 1)[1] == again.stdout.split("The zoo's faults", 1)[1]
    )
