from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
from pydantic import ValidationError, model_validator

from nnrecipe.core.errors import RecipeError, conflict
from nnrecipe.core.spec import Spec
from nnrecipe.recipe import load
from nnrecipe.recipe.nodes import Origin, to_plain
from nnrecipe.recipe.problems import ClashError, problems_of
from nnrecipe.recipe.slots import Slot
from nnrecipe.recipe.yaml_source import parse_yaml

BASE = {"data": "digits", "architecture": "mlp"}


def told(folder: Path, text: str, *overrides: str) -> list[str]:
    """What is said about BASE with `text` in place of its own sections; text starts in line 1."""
    lines = [f"{key}: {value}" for key, value in BASE.items() if f"{key}:" not in text]
    path = folder / "c.yaml"
    path.write_text("\n".join([text.rstrip(), *lines]))
    with pytest.raises(RecipeError) as caught:
        load(path, overrides=overrides)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "told_first"),
    [
        ("training: {epochs: 0}", "c.yaml:1:20: training.epochs: must be at least 1, got 0"),
        (
            "training: {epochs: 1.5}",
            "c.yaml:1:20: training.epochs: must be a whole number, got 1.5",
        ),
        (
            "training: {epochs: true}",
            "c.yaml:1:20: training.epochs: must be a whole number, got true",
        ),
        (
            "training:\n  clip_norm: -1",
            "c.yaml:2:14: training.clip_norm: must be greater than 0 (at least 1e-30), got -1",
        ),
        (
            "training:\n  clip_norm: 1e-300",
            "c.yaml:2:14: training.clip_norm: must be greater than 0 (at least 1e-30), got 1e-300",
        ),
        (
            "init: {kind: constant, value: 1e300}",
            "c.yaml:1:31: init.value: must be at most 1e+30, got 1e+300",
        ),
        (
            "init: {kind: constant, value: -1e300}",
            "c.yaml:1:31: init.value: must be at least -1e+30, got -1e+300",
        ),
        (
            "training: {epochs: 10000000000}",
            "c.yaml:1:20: training.epochs: must be at most 1,000,000,000, got 10000000000",
        ),
        ("training: 3", "c.yaml:1:11: training: must be a mapping (key: value), got 3"),
        ("training: {shuffle: 1}", "c.yaml:1:21: training.shuffle: must be true or false, got 1"),
        ("name: 3", "c.yaml:1:7: name: must be text, got 3"),
        ("name: a/b", "c.yaml:1:7: name: must be of another form, got 'a/b'"),
        ("name: .hidden", "c.yaml:1:7: name: must be of another form, got '.hidden'"),
        ("device: gpu", "c.yaml:1:9: device: must be one of auto, cpu, cuda, got 'gpu'"),
        ("data: 3", "c.yaml:1:7: data: must be a mapping (key: value), got 3"),
        ("data: {}", "c.yaml:1:1: data.kind: is required"),
        ("data: {kind: 3}", "c.yaml:1:14: data.kind: unknown kind 3"),
        ("data: {kind: [1]}", "c.yaml:1:8: data.kind: unknown kind [1]"),
        ("data: digts", "c.yaml:1:7: data.kind: unknown kind 'digts'"),
        ("data: {kind: digts, x: 1}", "c.yaml:1:14: data.kind: unknown kind 'digts'"),
        (
            "optimizer: {lr: x}",
            "c.yaml:1:17: optimizer.lr: must be a number above 0, or auto, got 'x'",
        ),
        ("optimizer: {lrr: 1}", "c.yaml:1:13: optimizer.lrr: unknown key in optimizer"),
        ("scheduler: step", "c.yaml:1:1: scheduler.step_size: is required"),
        ("stages: data", "c.yaml:1:9: stages: must be a list, got 'data'"),
        ("stages: [data, santy]", "c.yaml:1:16: stages.1.kind: unknown kind 'santy'"),
        ("stages:\n- data\n- overfit: {}", "c.yaml:3:3: stages.1.kind: is required"),
        (
            "stages: [{kind: overfit, steps: x}]",
            "c.yaml:1:33: stages.0.steps: must be a whole number",
        ),
        (
            "architecture: {kind: mlp, widths: [10, -1]}",
            "c.yaml:1:40: architecture.widths.1: must be at least 1, got -1",
        ),
        (
            "architecture: {kind: mlp, activation: rleu}",
            "c.yaml:1:39: architecture.activation.kind: unknown kind 'rleu'",
        ),
        (
            "data: {kind: digits, augment: [random_crop, {kind: rotation, degrees: x}]}",
            "c.yaml:1:71: data.augment.1.degrees: must be a number, got 'x'",
        ),
        (
            "architecture: {kind: custom, target: 'no colon'}",
            "c.yaml:1:38: architecture.target: must be of another form, got 'no colon'",
        ),
    ],
)
def test_place_path_message_and_value(tmp_path: Path, text: str, told_first: str) -> None:
    (problem,) = told(tmp_path, text)
    assert problem.split("\n")[0].startswith(told_first)
    assert len(problem.split("\n")) == 2, "there is a remedy"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("trainng: {epochs: 3}", "did you mean 'training'? valid keys: name, seed, device"),
        ("training: {epoch: 3}", "did you mean 'epochs'? valid keys: epochs, batch_size"),
        ("lr: 0.1", "did you mean optimizer.lr?"),
        (
            "optimizer: {kind: gd, momentum: 0.9}",
            "it is a key of sgd, rmsprop, muon; valid",
        ),
        ("norm: {kind: batch, groups: 2}", "it is a key of group; valid keys: kind, position"),
        ("data: digts", "did you mean 'digits'? kinds: digits, mnist"),
        ("precision: bf_16", "did you mean 'bf16'?"),
        ("training: {epochs: 1e3}", "write 1000"),
        ("training: {epochs: '10'}", "write 10, without quotes"),
        ("training: {epochs: 1_000}", "write 1000, without quotes or underscores"),
        ("training: {shuffle: yes}", "write true or false"),
        ("name: 3", 'write "3", in quotes'),
        ("training: {epochs: 0}", "epochs: passes over the training split"),
        ("regularization: 3", "keys: l1, l2, dropout"),
        ("norm: [batch]", "kinds: none, batch, layer"),
    ],
)
def test_remedies(tmp_path: Path, text: str, remedy: str) -> None:
    (problem,) = told(tmp_path, text)
    assert problem.split("\n")[1].startswith(f"    {remedy}")


def test_a_missing_section_names_its_kinds(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(RecipeError) as caught:
        load(path)
    data, architecture = map(str, caught.value.problems)
    assert "data: is required\n    kinds: digits" in data
    assert "architecture: is required\n    kinds: mlp" in architecture


def test_all_faults_are_told_in_the_order_of_the_lines(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "training: {epochs: 0, batch_size: 0}\nseed: -1\nfoo: 1\noptimizer: {momentum: 2, lr: -1}",
        "loss=x",
    )
    assert [problem.split(": ")[0] for problem in found] == [
        "c.yaml:1:20",
        "c.yaml:1:35",
        "c.yaml:2:7",
        "c.yaml:3:1",
        "c.yaml:4:23",
        "c.yaml:4:30",
        "loss=x",
    ]


def test_values_are_shown_short_and_printable(tmp_path: Path) -> None:
    (long,) = told(tmp_path, f"device: {'x' * 999}")
    (escape,) = told(tmp_path, 'device: "\\e[31m"')
    (key,) = told(tmp_path, '"\\e[31m": 1')
    assert len(long) < 200
    assert "\x1b" not in escape + key


def test_a_rule_between_keys_is_placed_where_it_names(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, "optimizer:\n  nesterov: true\n  lr: 0.1")
    assert problem.startswith("c.yaml:2:13: optimizer.nesterov: nesterov needs momentum")


def test_a_rule_between_sections_is_placed_where_it_names(tmp_path: Path) -> None:
    text = "architecture:\n  kind: resnet\nnorm: {kind: group, groups: 7}"
    (problem,) = told(tmp_path, text)
    assert problem.startswith("c.yaml:3:29: norm.groups: 7 groups do not divide")
    (problem,) = told(tmp_path, text, "norm.groups=9")
    assert problem.startswith("norm.groups=9: norm.groups: 9 groups do not divide")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("transfer:\n  freeze:\n    - fc1\n    - (", "c.yaml:4:7: transfer.freeze.1: '(' is no"),
        ("transfer: {freeze: [fc9]}", "c.yaml:1:12: transfer.freeze: 'fc9' matches no"),
        ("loss: {class_weights: [1, 2]}", "c.yaml:1:8: loss.class_weights: 2 weights for 10"),
        ("norm: batch\ntraining: {batch_size: 1}", "c.yaml:2:24: training.batch_size: 1 example"),
        ("norm: batch\nstages: [{kind: overfit, examples: 1}]", "c.yaml:2:36: stages.0.examples"),
        (
            "data: {kind: image_folder, image_size: 8}\narchitecture: lenet5",
            "c.yaml:2:15: architecture.kind: lenet5: two 5x5 convolutions",
        ),
    ],
)
def test_misfits_are_placed_where_they_are_written(tmp_path: Path, text: str, place: str) -> None:
    (problem,) = told(tmp_path, text)
    assert problem.startswith(place)


class Part(Spec):
    size: int = 3


class Whole(Spec):
    part: Part = Part()
    parts: tuple[Part, ...] = ()

    @model_validator(mode="after")
    def _small(self) -> Self:
        raise conflict("part.size", "is too large", "make it smaller")


@pytest.mark.parametrize(
    ("text", "place"),
    [("parts: []", "f:1:1"), ("parts: []\npart: {}", "f:2:1"), ("part: {size: 3}", "f:1:14")],
)
def test_a_rule_about_a_default_says_so(text: str, place: str) -> None:
    root, _ = parse_yaml(text, lambda line, column: Origin("f", line, column))
    assert root is not None
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(to_plain(root))
    (problem,) = problems_of(caught.value, root, Slot(spec=Whole))
    remark = "" if "size" in text else " (this is the default: the config doesn't give it)"
    assert str(problem) == f"{place}: part.size: is too large{remark}\n    make it smaller"


@pytest.mark.parametrize(
    ("overrides", "clash"),
    [
        (["norm=instance"], True),
        (["norm=instance", "loss=mse"], True),
        (["norm=foo"], False),
        (["norm=instance", "seed=-1"], False),
        (["norm=instance", "~nothing"], False),
    ],
)
def test_what_cannot_be_combined_is_told_from_a_mistake(overrides: list[str], clash: bool) -> None:
    with pytest.raises(RecipeError) as caught:
        load("quickstart", overrides=overrides)
    assert isinstance(caught.value, ClashError) == clash
