from __future__ import annotations

from pathlib import Path

import pytest

from nnrecipe.core.errors import RecipeError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.recipe import Recipe, load_recipe
from nnrecipe.stages import Stage

CONFIG = """\
data:
  kind: digits
  augment: [{kind: random_crop, padding: 1}]
architecture: {kind: mlp, widths: [10, 20]}
norm: batch
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def changed(config: Path, *overrides: str) -> Recipe:
    return load_recipe(config, overrides=overrides)


def refusal(config: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        changed(config, *overrides)
    return str(caught.value).replace(f"{config.parent}/", "")


def test_values_are_yaml(config: Path) -> None:
    recipe = changed(config, "optimizer.lr=1e-3", "architecture.widths=[3, 4]", "name='a'")
    assert recipe.optimizer.lr == 0.001
    assert recipe.architecture.model_dump()["widths"] == (3, 4)
    assert recipe.name == "a"


def test_values_may_hold_equals_signs(config: Path) -> None:
    assert changed(config, "data.root=a=b=c").data.model_dump()["root"] == Path("a=b=c")


def test_the_last_one_wins(config: Path) -> None:
    assert changed(config, "seed=1", "seed=2").seed == 2


def test_a_section_that_the_file_lacks_is_made(config: Path) -> None:
    recipe = changed(config, "regularization.early_stopping.patience=3", "scheduler.warmup=5")
    assert recipe.regularization.early_stopping is not None
    assert recipe.regularization.early_stopping.patience == 3
    assert recipe.scheduler.model_dump() == {"kind": "constant", "warmup": 5}


def test_a_kind_given_for_short_is_spelled_out(config: Path) -> None:
    assert changed(config, "norm.momentum=0.2").norm == BatchNorm(momentum=0.2)


@pytest.mark.parametrize(
    ("architecture", "section", "key", "value"),
    [
        ("resnet", "norm", "momentum", 0.2),
        ("mlp", "init", "output_gain", 0.5),
        ("mlp", "init", "mode", "fan_out"),
        ("mlp", "data.normalize", "per", "feature"),
    ],
)
def test_an_override_of_a_section_that_the_file_lacks_means_what_a_file_would(
    tmp_path: Path, architecture: str, section: str, key: str, value: object
) -> None:
    lacking = tmp_path / "same.yaml"
    lacking.write_text(f"data: {{kind: digits}}\narchitecture: {architecture}\n")
    inner = f"{{{section.rpartition('.')[2]}: {{{key}: {value}}}}}"
    above = tmp_path / "above.yaml"
    above.write_text(f"{{data: {inner}}}" if "." in section else inner)
    changed = load_recipe(lacking, overrides=[f"{section}.{key}={value}"])
    assert changed == load_recipe(lacking, above)
    assert changed != load_recipe(lacking)


def test_a_setting_of_no_kind_asks_for_one_as_in_a_file(config: Path) -> None:
    without = config.read_text().replace("norm: batch\n", "")
    config.write_text(without)
    overridden = refusal(config, "norm.momentum=0.2")
    config.write_text(f"{without}norm: {{momentum: 0.2}}\n")
    assert "norm.kind: is required" in overridden
    assert "norm.kind: is required" in refusal(config)


def test_a_whole_section_is_replaced(config: Path) -> None:
    optimizer = changed(config, "optimizer=adam").optimizer
    assert (
        optimizer == load_recipe(config, overrides=["~optimizer", "optimizer.kind=adam"]).optimizer
    )


def test_dropping_brings_the_default_back(config: Path) -> None:
    recipe = changed(config, "~optimizer.momentum", "~norm", "~data.augment.0")
    assert recipe.optimizer.model_dump()["momentum"] == 0.0
    assert recipe.norm.kind == "none"
    assert recipe.data.augment == ()


@pytest.mark.parametrize("member", ["0", "random_crop"])
def test_a_list_item_goes_by_number_or_kind(config: Path, member: str) -> None:
    (crop,) = changed(config, f"data.augment.{member}.padding=4").data.augment
    assert crop.model_dump() == {"kind": "random_crop", "padding": 4}


def test_a_kind_that_the_list_lacks_is_appended(config: Path) -> None:
    augment = changed(config, "data.augment.rotation.degrees=5").data.augment
    assert [member.kind for member in augment] == ["random_crop", "rotation"]


def test_a_list_that_the_file_lacks_starts_as_its_default(config: Path) -> None:
    stages = {stage.kind: stage for stage in changed(config, "stages.overfit.steps=30").stages}
    assert list(stages) == [kind_of(stage) for stage in members(Stage)]
    assert stages["overfit"].model_dump()["steps"] == 30


def test_a_stage_can_be_dropped(config: Path) -> None:
    kinds = [stage.kind for stage in changed(config, "~stages.lr_probe").stages]
    assert kinds == [kind_of(stage) for stage in members(Stage) if kind_of(stage) != "lr_probe"]


def test_two_items_of_one_kind_need_a_number(config: Path) -> None:
    two = "data.augment=[random_crop, random_crop]"
    message = refusal(config, two, "data.augment.random_crop.padding=2")
    assert "2 items of kind random_crop" in message
    assert "0 or 1" in message


def test_a_new_kind_drops_no_setting_silently(config: Path) -> None:
    message = refusal(config, "optimizer.kind=adam")
    assert message.startswith("config.yaml:6:33: optimizer.momentum: unknown key")
    assert "~optimizer.momentum" in message
    changed(config, "optimizer.kind=adam", "~optimizer.momentum")


@pytest.mark.parametrize(
    ("override", "path", "words"),
    [
        ("=3", "", "is no override"),
        ("a..b=3", "a", "is no override"),
        ("~seed=3", "seed", "is no override"),
        ("x" + ".x" * 999 + "=1", "x", "is no override"),
        ("~training.epochs", "training.epochs", "nothing to drop"),
        ("~stages.nope", "stages.nope", "nothing to drop"),
        ("optimizer.lr.x=3", "optimizer.lr", "is 0.1, which has no keys under it"),
        ("architecture.widths.2=3", "architecture.widths.2", "the list has 2 items"),
        ("architecture.widths.x=3", "architecture.widths.x", "the list has 2 items"),
        ("stages.-1.steps=3", "stages.-1", "there is no item"),
        ("optimizer.lr=[", "optimizer.lr", "a value is missing"),
        ("optimizer.lr=-1", "optimizer.lr", "got -1"),
        ("optimizer.lr=.inf", "optimizer.lr", "finite"),
        ("trainig.epochs=1", "trainig", "did you mean 'training'?"),
        ("training.epoch=1", "training.epoch", "did you mean 'epochs'?"),
        ("stages.overfit.step=1", "stages.4.step", "did you mean 'steps'?"),
    ],
)
def test_faults_show_the_override_as_typed(
    config: Path, override: str, path: str, words: str
) -> None:
    message = refusal(config, override)
    assert message.startswith(f"{override}: {path}")
    assert words in message
