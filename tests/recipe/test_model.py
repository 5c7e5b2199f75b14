from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from nnrecipe.architectures import Architecture
from nnrecipe.core.spec import Spec, kind_of, members
from nnrecipe.recipe import Recipe
from nnrecipe.recipe.rules import ORDER
from nnrecipe.recipe.slots import Slot, slot_of

DESIGN = """
    name seed device precision data architecture init norm regularization loss optimizer
    scheduler training stages search ensemble transfer tracking
"""
NEEDED = {
    "custom": {"target": "a:b"},
    "torchvision": {"model": "resnet18"},
    "timm": {"model": "resnet18"},
}
"""What an architecture can't do without."""

BIG = {"kind": "cifar10", "image_size": 64}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"data": "digits", "architecture": "mlp", **sections})


def conflicts(**sections: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        recipe(**sections)
    errors = caught.value.errors()
    assert {error["type"] for error in errors} == {"conflict"}
    return [(error["ctx"]["path"], error["ctx"]["message"]) for error in errors]


def test_the_top_level_keys_are_the_designs() -> None:
    assert list(Recipe.model_fields) == DESIGN.split()
    assert [key for key, info in Recipe.model_fields.items() if info.is_required()] == [
        "data",
        "architecture",
    ]


def specs(slot: Slot) -> Iterator[type[Spec]]:
    """Every spec that can stand in a slot, or below it."""
    if slot.item is not None:
        yield from specs(slot.item)
    for spec in [slot.spec] if slot.spec is not None else slot.kinds.values():
        yield spec
        for info in spec.model_fields.values():
            yield from specs(slot_of(info))


@pytest.mark.parametrize("value", [1e300, -1e300])
@pytest.mark.parametrize("spec", sorted(set(specs(Slot(spec=Recipe))), key=str))
def test_no_key_takes_a_number_that_float32_lacks(spec: type[Spec], value: float) -> None:
    with pytest.raises(ValidationError) as caught:
        spec.model_validate(dict.fromkeys(spec.model_fields, value))
    refused = {error["loc"][0] for error in caught.value.errors() if error["loc"]}
    assert refused == set(spec.model_fields)


def test_a_dumped_recipe_is_the_same_recipe() -> None:
    one = recipe(norm="batch", optimizer={"lr": "auto"}, regularization={"early_stopping": {}})
    assert Recipe.model_validate(one.model_dump()) == one
    assert Recipe.model_validate(one.model_dump(mode="json")) == one


@pytest.mark.parametrize("member", members(Architecture), ids=kind_of)
def test_init_and_norm_are_the_architectures_own_unless_given(member: Any) -> None:
    architecture = {"kind": kind_of(member), **NEEDED.get(kind_of(member), {})}
    made = recipe(architecture=architecture, data="cifar10")
    assert made.norm.kind == member.default_norm
    assert (None if made.init is None else made.init.kind) == member.default_init
    given = recipe(architecture=architecture, data="cifar10", init="orthogonal")
    assert given.init is not None
    assert given.init.kind == "orthogonal"


def test_settings_of_a_default_norm_need_no_kind() -> None:
    assert recipe(architecture="resnet", norm={"momentum": 0.5}).norm.kind == "batch"
    with pytest.raises(ValidationError, match="discriminator 'kind'"):
        recipe(architecture="mlp", norm={"momentum": 0.5})


@pytest.mark.parametrize("member", members(Architecture), ids=kind_of)
def test_settings_of_the_default_init_need_no_kind(member: Any) -> None:
    architecture = {"kind": kind_of(member), **NEEDED.get(kind_of(member), {})}
    given = {"data": "cifar10", "architecture": architecture, "init": {"output_gain": 0.5}}
    if member.default_init is None:
        with pytest.raises(ValidationError, match="discriminator 'kind'"):
            recipe(**given)
    else:
        spelled_out = {"kind": member.default_init, "output_gain": 0.5}
        assert recipe(**given) == recipe(**given | {"init": spelled_out})


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"training": {"batch_size": 1}}, "training.batch_size"),
        ({"data": {"kind": "digits", "limit": 1}}, "data.limit"),
        ({"stages": [{"kind": "overfit", "examples": 1}]}, "stages.overfit.examples"),
    ],
)
def test_batch_norm_needs_more_than_one_example(sections: dict[str, Any], path: str) -> None:
    for norm in ("batch", {"kind": "batch", "momentum": 0.2}):
        assert [found for found, _ in conflicts(norm=norm, **sections)] == [path]
    assert recipe(norm="layer", **sections).norm.kind == "layer"
    assert recipe(**sections).norm.kind == "none"


def test_two_examples_are_enough_for_batch_norm() -> None:
    few = {"training": {"batch_size": 2}, "data": {"kind": "digits", "limit": 2}}
    assert recipe(norm="batch", stages=[{"kind": "overfit", "examples": 2}], **few)


@pytest.mark.parametrize(
    ("sections", "path", "words"),
    [
        ({"transfer": {"freeze": ["fc1", "("]}}, "transfer.freeze.1", "no regular expression"),
        ({"transfer": {"freeze": ["a{9999999999}"]}}, "transfer.freeze.0", "too large"),
        ({"transfer": {"freeze": ["fc9"]}}, "transfer.freeze", "nearest paths are"),
        ({"transfer": {"freeze": ["."]}}, "transfer.freeze", "every parameter"),
        ({"loss": {"class_weights": [1, 2]}}, "loss.class_weights", "2 weights for 10 classes"),
    ],
)
def test_what_does_not_fit_the_network_or_the_classes(
    sections: dict[str, Any], path: str, words: str
) -> None:
    ((found, message),) = conflicts(**sections)
    assert found == path
    assert words in message


def test_what_fits_the_network_and_the_classes_is_no_conflict() -> None:
    assert recipe(transfer={"freeze": ["^fc1"]}, loss={"class_weights": [1] * 10})
    assert recipe(loss={"class_weights": "balanced"})
    unknown = {"kind": "image_folder", "image_size": 32}
    assert recipe(data=unknown, architecture="vgg", loss={"class_weights": [1, 2]})


@pytest.mark.parametrize("member", members(Architecture), ids=kind_of)
def test_a_norm_or_dropout_that_the_architecture_cannot_use_is_an_error(member: Any) -> None:
    given = {
        "data": "cifar10",
        "architecture": {"kind": kind_of(member), **NEEDED.get(kind_of(member), {})},
        "norm": "layer",
        "regularization": {"dropout": 0.5},
    }
    refused = {"norm", "regularization.dropout"} & set(member.refuses)
    if refused:
        assert {path for path, _ in conflicts(**given)} == refused
    else:
        dropout = recipe(**given).regularization.dropout
        assert dropout is not None
        assert dropout.drop == 0.5
    none = {**given, "norm": "none", "regularization": {"dropout": 0.0}}
    assert recipe(**none).norm.kind == "none"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"architecture": "vgg"}, "architecture.kind"),
        ({"architecture": "lenet5"}, "architecture.kind"),
        ({"norm": {"kind": "group", "groups": 7}}, "norm.groups"),
        (
            {"architecture": "vgg", "data": {"kind": "image_folder", "image_size": 31}},
            "architecture.kind",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_an_error(sections: dict[str, Any], path: str) -> None:
    ((found, _),) = conflicts(**sections)
    assert found == path


def test_stages_come_in_the_recipes_order_and_once() -> None:
    assert tuple(stage.kind for stage in recipe().stages) == ORDER
    assert conflicts(stages=["train", "data"])[0][0] == "stages"
    assert "twice" in conflicts(stages=["data", "data"])[0][1]
    with pytest.raises(ValidationError, match="at least 1 item"):
        recipe(stages=[])


def test_an_automatic_learning_rate_needs_the_probe_before_training() -> None:
    auto = {"lr": "auto"}
    assert conflicts(optimizer=auto, stages=["data", "train"])[0][0] == "optimizer.lr"
    assert recipe(optimizer=auto, stages=["lr_probe", "train"]).optimizer.lr == "auto"
    assert recipe(optimizer=auto, stages=["data"]).optimizer.lr == "auto"


def test_a_warm_up_must_leave_some_of_the_training() -> None:
    epochs = {"epochs": 2}
    assert recipe(scheduler={"warmup": "1 epoch"}, training=epochs).training.epochs == 2
    found = conflicts(scheduler={"warmup": "2 epochs"}, training=epochs)
    assert found[0][0] == "scheduler.warmup"


def test_all_conflicts_are_told_at_once() -> None:
    found = conflicts(
        architecture="resnet",
        regularization={"dropout": 0.5},
        optimizer={"lr": "auto"},
        stages=["train", "data"],
        scheduler={"warmup": "99 epochs"},
    )
    assert [path for path, _ in found] == [
        "regularization.dropout",
        "stages",
        "optimizer.lr",
        "scheduler.warmup",
    ]


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        recipe().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("predict", "loss", "figure"),
    [
        ("digit", "cross_entropy", "val_accuracy"),
        ("traits", "bce_with_logits", "val_accuracy"),
        ("ink", "mse", "val_r2"),
    ],
)
def test_the_task_decides_the_loss_and_the_figure_unless_given(
    predict: str, loss: str, figure: str
) -> None:
    data = {"kind": "digits", "predict": predict}
    made = recipe(data=data)
    assert made.loss.kind == loss
    assert made.training.select_by == figure
    assert recipe(data=data, training={"select_by": "val_loss"}).training.select_by == "val_loss"


@pytest.mark.parametrize(
    ("sections", "path", "words"),
    [
        ({"loss": "mse"}, "loss.kind", "mse is for regression"),
        ({"loss": "bce_with_logits"}, "loss.kind", "multi_label"),
        ({"loss": "nll"}, "loss.kind", "log-probabilities"),
        ({"training": {"select_by": "val_r2"}}, "training.select_by", "no val_r2"),
        (
            {"scheduler": {"kind": "plateau", "monitor": "val_f1"}},
            "scheduler.monitor",
            "no val_f1",
        ),
        (
            {"regularization": {"early_stopping": {"monitor": "val_r2"}}},
            "regularization.early_stopping.monitor",
            "no val_r2",
        ),
        ({"init": {"zero_gamma": True}}, "init.zero_gamma", "no residual block"),
        ({"init": {"output_bias": "target_mean"}}, "init.output_bias", "for regression"),
        (
            {"architecture": "torchvision:vgg11", "data": BIG, "optimizer": "lbfgs"},
            "optimizer.kind",
            "own dropout",
        ),
        (
            {"optimizer": "gd", "training": {"accumulate": 4}},
            "training.accumulate",
            "over all examples",
        ),
        (
            {
                "architecture": "torchvision:resnet18",
                "data": "cifar10",
                "stages": [{"kind": "init", "compare": ["zeros"], "activations": ["relu"]}],
            },
            "stages.init.activations",
            "its own nonlinearities",
        ),
    ],
)
def test_what_does_not_fit_the_task_or_the_optimizer_is_an_error(
    sections: dict[str, Any], path: str, words: str
) -> None:
    ((found, message),) = conflicts(**sections)
    assert found == path
    assert words in message


@pytest.mark.parametrize(
    ("sections", "path", "words"),
    [
        ({"training": {"average": "swa", "epochs": 3}}, "training.average", "the last"),
        (
            {"training": {"batch_size": 1}, "regularization": {"mixup": 0.2}},
            "training.batch_size",
            "no partner",
        ),
        (
            {"optimizer": "lbfgs", "regularization": {"mixup": 0.2}},
            "regularization.mixup",
            "changes the loss",
        ),
        (
            {"optimizer": "lbfgs", "data": {"kind": "digits", "augment": ["horizontal_flip"]}},
            "data.augment",
            "changes the loss",
        ),
    ],
)
def test_what_would_do_nothing_or_harm_is_an_error(
    sections: dict[str, Any], path: str, words: str
) -> None:
    ((found, message),) = conflicts(**sections)
    assert found == path
    assert words in message


def test_what_is_switched_off_is_no_obstacle() -> None:
    off = {"dropout": 0, "dropblock": 0, "mixup": 0}
    data = {"kind": "digits", "image_size": 32}
    made = recipe(data=data, architecture="lenet5", optimizer="lbfgs", regularization=off)
    assert made.optimizer.kind == "lbfgs"
    assert recipe(training={"average": "swa", "epochs": 4}).training.epochs == 4


@pytest.mark.parametrize("kind", ["gd", "lbfgs"])
def test_full_batch_descent_accumulates_the_epoch(kind: str) -> None:
    assert recipe(optimizer=kind).training.accumulate == "epoch"
    assert recipe(optimizer="sgd").training.accumulate == 1


def test_nonlinearities_are_compared_with_the_weights_they_are_started_from() -> None:
    with pytest.raises(ValidationError, match="compare, which is empty"):
        recipe(stages=[{"kind": "init", "activations": ["relu"]}])


@pytest.mark.parametrize(
    ("section", "valid"),
    [
        ({"init": {"output_gain": 0.5}}, True),
        ({"norm": {"eps": 1e-4}, "architecture": "resnet"}, True),
        ({"architecture": "torchvision:resnet18"}, True),
        ({"architecture": "torchvision"}, False),
        ({"regularization": {"dropout": [0.1, 0.2]}}, True),
        ({"regularization": {"dropout": "much"}}, False),
    ],
)
def test_the_schema_takes_what_the_loader_takes(section: dict[str, Any], valid: bool) -> None:
    validator = jsonschema.Draft202012Validator(Recipe.model_json_schema())
    given = {"data": "digits", "architecture": "mlp", **section}
    assert validator.is_valid(given) is valid
