from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from nnrecipe.core.errors import RecipeError, UserError
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.recipe import load, load_recipe

BASE = "data: digits\narchitecture: mlp\n"


def write(folder: Path, text: str | bytes, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(*paths: Path, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(*paths, overrides=overrides)
    folders = {f"{path.parent}/" for path in paths}
    texts = [str(problem) for problem in caught.value.problems]
    for folder in folders:
        texts = [text.replace(folder, "") for text in texts]
    return texts


def test_name_is_the_files(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, BASE, "my run (2).yaml")).name == "my-run-2"
    assert load_recipe(write(tmp_path, BASE, "ü.yaml")).name == "recipe"
    assert load_recipe(write(tmp_path, f"{BASE}name: given")).name == "given"


def test_modules_beside_the_config_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    load_recipe(write(tmp_path, BASE))
    assert str(tmp_path.resolve()) in sys.path


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    first = write(
        tmp_path, f"{BASE}training: {{epochs: 5, batch_size: 10}}\nnorm: batch\n", "a.yaml"
    )
    second = write(tmp_path, "training: {epochs: 7}\nnorm: {momentum: 0.3}\n", "b.yaml")
    recipe = load_recipe(first, second)
    assert (recipe.training.epochs, recipe.training.batch_size) == (7, 10)
    assert recipe.norm == BatchNorm(momentum=0.3)


def test_a_section_of_another_kind_is_replaced(tmp_path: Path) -> None:
    first = write(tmp_path, f"{BASE}optimizer: {{lr: 0.1, momentum: 0.9}}\n", "a.yaml")
    adam = load_recipe(first, write(tmp_path, "optimizer: adam\n", "b.yaml")).optimizer
    sgd = load_recipe(
        first, write(tmp_path, "optimizer: {kind: sgd, lr: 0.2}\n", "c.yaml")
    ).optimizer
    assert adam.kind == "adam"
    assert adam.lr != 0.1
    assert sgd.model_dump() | {"lr": 0.2, "momentum": 0.9} == sgd.model_dump()


CIFAR = "data: cifar10\n"


@pytest.mark.parametrize(
    "architecture",
    [
        "torchvision:resnet18",
        "{kind: torchvision:resnet18}",
        "{kind: torchvision, model: resnet18}",
        "{kind: 'torchvision:resnet18', args: {}}",
    ],
)
def test_a_shorthand_is_spelled_out(tmp_path: Path, architecture: str) -> None:
    loaded = load(write(tmp_path, f"{CIFAR}architecture: {architecture}\n"))
    expected = {"kind": "torchvision", "model": "resnet18", "args": {}, "weights": None}
    assert loaded.recipe.architecture.model_dump() == expected
    assert (loaded.recipe.init, loaded.recipe.norm.kind) == (None, "none")
    for line in ("kind: torchvision", "model: resnet18"):
        assert f"  {line:<38} # config.yaml:2\n" in loaded.resolved


@pytest.mark.parametrize(
    "change", ["architecture=torchvision:resnet34", "architecture.kind=torchvision:resnet34"]
)
def test_a_shorthand_may_be_an_override(tmp_path: Path, change: str) -> None:
    for below in ("mlp", "torchvision:resnet18"):
        recipe = load_recipe(
            write(tmp_path, f"{CIFAR}architecture: {below}\n"), overrides=(change,)
        )
        assert recipe.architecture.model_dump(exclude={"args", "weights"}) == {
            "kind": "torchvision",
            "model": "resnet34",
        }


def test_a_shorthand_merges_as_its_kind_does(tmp_path: Path) -> None:
    first = write(tmp_path, f"{CIFAR}architecture: torchvision:resnet18\n", "a.yaml")
    second = write(tmp_path, "architecture: {model: resnet34}\n", "b.yaml")
    third = write(tmp_path, "architecture: torchvision:resnet50\n", "c.yaml")
    fourth = write(tmp_path, "architecture: timm:resnet10t\n", "d.yaml")
    for others, model in [((second,), "resnet34"), ((second, third), "resnet50")]:
        assert load_recipe(first, *others).architecture.model_dump()["model"] == model
    assert load_recipe(first, fourth).architecture.kind == "timm"


@pytest.mark.parametrize(
    ("architecture", "problem", "remedy"),
    [
        (
            "torchvison:resnet18",
            "architecture.kind: unknown kind 'torchvison:resnet18'",
            "did you mean 'torchvision'? kinds: mlp, ",
        ),
        ("vgg:16", "architecture.kind: unknown kind 'vgg:16'", "did you mean 'vgg'?"),
        (
            "{kind: torchvision:resnet18, model: resnet34}",
            "architecture.kind: unknown kind 'torchvision:resnet18'",
            "did you mean 'torchvision'?",
        ),
        (
            "torchvision:rsnet18",
            "architecture.model: torchvision has no model 'rsnet18'",
            "did you mean resnet18 or ",
        ),
        ("torchvision", "architecture.model: is required", "model: the model's name"),
        ("torchvision:vit_b_16\nnorm: batch", "norm: a model of torchvision", ""),
        (
            "torchvision:alexnet",
            "architecture.model: torchvision:alexnet can't take images of 32x32",
            "",
        ),
    ],
)
def test_a_wrong_shorthand_is_refused(
    tmp_path: Path, architecture: str, problem: str, remedy: str
) -> None:
    (text,) = problems(write(tmp_path, f"{CIFAR}architecture: {architecture}\n"))
    assert text.startswith("config.yaml:")
    assert problem in text
    assert text.split("\n")[-1].strip().startswith(remedy)


def test_a_file_named_twice_counts_twice(tmp_path: Path) -> None:
    first = write(tmp_path, f"{BASE}seed: 1\n", "a.yaml")
    second = write(tmp_path, "seed: 2\nname: other\n", "b.yaml")
    loaded = load(first, second, first)
    assert (loaded.recipe.seed, loaded.recipe.name) == (1, "other")
    assert loaded.given.count("a.yaml") == 2
    wrong = write(tmp_path, "seed: -1\nseed: 2\n", "c.yaml")
    assert len(problems(first, wrong, wrong)) == 2


def test_lists_are_replaced(tmp_path: Path) -> None:
    first = write(tmp_path, f"{BASE}stages: [data, sanity]\n", "a.yaml")
    second = write(tmp_path, "stages: [overfit]\n", "b.yaml")
    assert [stage.kind for stage in load_recipe(first, second).stages] == ["overfit"]


def test_an_empty_section_is_an_absent_one(tmp_path: Path) -> None:
    path = write(tmp_path, f"{BASE}training:\n  # epochs: 3\nnorm:\nstages:\n")
    assert load_recipe(path) == load_recipe(write(tmp_path, BASE))


def test_strings_inside_args_are_left_alone(tmp_path: Path) -> None:
    text = (
        "data: digits\narchitecture: {kind: custom, target: 'a:b', args: {norm: x, data: {y: 1}}}"
    )
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.architecture.model_dump()["args"] == {"norm": "x", "data": {"y": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "config.yaml:1:1: YAML: the file is empty"),
        ("# nothing\n", "config.yaml:1:1: YAML: the file is empty"),
        ("- digits\n", "config.yaml:1:1: YAML: a config is a mapping of keys, got ['digits']"),
        ("digits\n", "config.yaml:1:1: YAML: a config is a mapping of keys, got 'digits'"),
        (b"name: a\n# caf\xe9\n", "config.yaml:2:6: YAML: byte 0xe9 is not UTF-8"),
        ("name: é".encode("utf-16"), "config.yaml:1:1: YAML: byte 0xff is not UTF-8"),
        (b"\x00\x01", "config.yaml:1:1: YAML: the character U+0000 is not allowed"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: str | bytes, message: str) -> None:
    (problem,) = problems(write(tmp_path, content))
    assert problem.startswith(message)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, b"\xef\xbb\xbf" + BASE.encode())).data.kind == "digits"


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"x" * 1_000_001)
    with pytest.raises(UserError, match="too large for a config"):
        load_recipe(path)


def test_no_file_is_an_error() -> None:
    with pytest.raises(UserError, match="no config"):
        load_recipe()


def test_faults_of_yaml_of_overrides_and_of_values_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path, f"{BASE}seed: .nan\nname: a\nname: b\ntraining: {{epochs: 0}}\n")
    found = problems(path, overrides=("loss.x=1", "nonsense=[", "optimizer.lr=-1"))
    assert [problem.split(": ")[:2] for problem in found] == [
        ["config.yaml:3:7", "seed"],
        ["config.yaml:5:1", "name"],
        ["nonsense=[", "nonsense"],
        ["config.yaml:6:20", "training.epochs"],
        ["loss.x=1", "loss.x"],
        ["optimizer.lr=-1", "optimizer.lr"],
    ]


def test_faults_of_several_files_are_told_together(tmp_path: Path) -> None:
    one, two = write(tmp_path, "a: [", "a.yaml"), write(tmp_path, "b: {", "b.yaml")
    assert [problem.split(":")[0] for problem in problems(one, two)] == ["a.yaml", "b.yaml"]


def test_the_record_can_be_run_again_and_keeps_what_was_given(tmp_path: Path) -> None:
    path = write(tmp_path, f"{BASE}# a remark\noptimizer: {{lr: 1e-3}}\n")
    loaded = load(path, overrides=["training.epochs=3"])
    again = load_recipe(write(tmp_path, loaded.record, "again.yaml"))
    assert again == loaded.recipe
    assert "# # a remark\n" in loaded.record
    assert "# --- training.epochs=3\n" in loaded.record
    assert yaml.safe_load(loaded.record)["training"]["epochs"] == 3
