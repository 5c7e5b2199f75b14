"""What can't be built is refused with the YAML path, the value and a remedy."""

import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.refusals import everything, obstacles
from nnrecipe.architectures.summary import blueprint
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers import Norm
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden


def parse(architecture):
    return TypeAdapter(Architecture).validate_python(architecture)


def build(architecture, inputs, *, norm="none", **omissions):
    hidden = Hidden(TypeAdapter(Norm).validate_python(norm), **omissions)
    return blueprint(parse(architecture), inputs, OutputSpec(10), hidden=hidden)


@pytest.mark.parametrize("side", [8, 28, 31])
def test_vgg_needs_32_pixels(side):
    with pytest.raises(
        UserError, match=rf"five poolings need at least 32x32 .* {side}x{side}: set"
    ):
        parse("vgg").check_inputs((3, side, side))
    parse("vgg").check_inputs((3, 32, 32))


def test_lenet_needs_12_pixels():
    with pytest.raises(UserError, match=r"architecture\.kind: lenet5: .* 12x12 .* has 8x8: set"):
        build("lenet5", (1, 8, 8))
    build("lenet5", (1, 12, 12))


@pytest.mark.parametrize("kind", ["lenet5", "vgg", "resnet"])
def test_convolutions_need_images(kind):
    with pytest.raises(UserError, match=rf"architecture\.kind: {kind} needs images .* 64: use mlp"):
        parse(kind).check_inputs((64,))


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
def test_small_images_are_taken_where_they_can_be(kind):
    parse(kind).check_inputs((1, 8, 8))


def test_resnet_takes_dropout_only_by_force():
    reason = r"regularization\.dropout: resnet .* batch norm .* variance .*dropout\.force$"
    with pytest.raises(UserError, match=reason):
        build("resnet", (3, 32, 32), norm="batch", dropout=Dropout(drop=0.5))
    build("resnet", (3, 32, 32), norm="batch", dropout=Dropout(drop=0.0))
    build("resnet", (3, 32, 32), norm="batch", dropout=Dropout(keep=1.0))
    build("resnet", (3, 32, 32), norm="batch", dropout=Dropout(drop=0.5, force=True))


SETTINGS = {
    "norm": {"norm": "batch"},
    "regularization.dropout": {"dropout": Dropout(drop=0.5)},
    "regularization.dropout.force": {"dropout": Dropout(drop=0.5, force=True)},
    "regularization.dropblock": {"dropblock": DropBlock()},
    "regularization.stochastic_depth": {"stochastic_depth": 0.2},
}


@pytest.mark.parametrize("path", SETTINGS)
def test_a_custom_architecture_takes_nothing(path):
    custom = {"kind": "custom", "target": "torch.nn:Identity"}
    with pytest.raises(UserError, match=rf"{path}: "):
        build(custom, (4,), **SETTINGS[path])
    assert path in everything("")


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        ("mlp", "regularization.dropblock", "no pixels .* use dropout"),
        ("mlp", "regularization.stochastic_depth", "no residual branch .* use dropout"),
        ("lenet5", "regularization.stochastic_depth", "no residual branch .* use dropout"),
        ("vgg", "regularization.stochastic_depth", "no residual branch .* use dropout"),
    ],
)
def test_what_has_no_place_in_a_network_is_refused(kind, path, words):
    with pytest.raises(UserError, match=rf"{path}: .*{words}"):
        build(kind, (3, 32, 32), **SETTINGS[path])


def test_what_is_switched_off_is_no_obstacle():
    off = Hidden(dropout=Dropout(drop=[0.0, 0.0]), dropblock=DropBlock(drop=0.0))
    assert not obstacles(parse({"kind": "custom", "target": "a:b"}), off)
    on = Hidden(dropout=Dropout(drop=[0.0, 0.1]), dropblock=DropBlock(), stochastic_depth=0.1)
    found = obstacles(parse({"kind": "custom", "target": "a:b"}), on)
    assert [path.split(".")[1] for path, _ in found] == ["dropout", "dropblock", "stochastic_depth"]


@pytest.mark.parametrize(
    ("kind", "places"), [("mlp", 1), ("lenet5", 2), ("vgg", 1), ("resnet", 9)], ids=str
)
def test_a_list_of_probabilities_has_one_for_each_place(kind, places):
    dropout = Dropout(drop=[0.1] * 5, force=True)
    words = rf"regularization\.dropout: a list of 5 .* {places} places? "
    with pytest.raises(UserError, match=words):
        build(kind, (3, 32, 32), dropout=dropout)
    build(kind, (3, 32, 32), dropout=Dropout(drop=[0.1] * places, force=True))


def test_dropout_needs_a_hidden_layer():
    with pytest.raises(UserError, match=r"regularization\.dropout: .* no hidden layer"):
        build({"kind": "mlp", "widths": []}, (4,), dropout=Dropout(drop=0.5))
    build({"kind": "mlp", "widths": []}, (4,), dropout=Dropout(drop=0.0))


def test_norms_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"norm\.groups"):
        build("lenet5", (1, 28, 28), norm={"kind": "group", "groups": 8})
    with pytest.raises(UserError, match=r"norm\.kind: instance"):
        build("mlp", (64,), norm="instance")


def test_instance_norm_is_refused_where_the_last_stage_has_a_single_pixel():
    resnet18 = {"kind": "resnet", "depth": 18}
    with pytest.raises(UserError, match=r"norm\.kind: instance: .* single numbers"):
        build(resnet18, (3, 32, 32), norm="instance")
    build(resnet18, (3, 33, 32), norm="instance")
    with pytest.raises(UserError, match=r"norm\.groups: 64: .* single numbers"):
        build("resnet", (1, 4, 4), norm={"kind": "group", "groups": 64})
    build("resnet", (1, 4, 4), norm="group")
    build("resnet", (1, 5, 4), norm="instance")


@pytest.mark.parametrize(
    ("architecture", "path"),
    [
        ({"kind": "resnet", "activation": "maxout"}, "architecture.activation"),
        ({"kind": "mlp", "widths": [], "width": 2.0}, "architecture.width"),
        ({"kind": "mlp", "widths": [], "depth": 2}, "architecture.depth"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(architecture, path):
    with pytest.raises(ValidationError) as caught:
        parse(architecture)
    assert [error["ctx"]["path"] for error in caught.value.errors()] == [path]


@pytest.mark.parametrize(
    "architecture",
    [
        {"kind": "vgg", "depth": 12},
        {"kind": "resnet", "depth": 19},
        {"kind": "resnet", "width": 0.0},
        {"kind": "resnet", "width": 1e9},
        {"kind": "mlp", "widths": [0]},
        {"kind": "mlp", "depth": 0},
        {"kind": "lenet5", "pool": "mean"},
        {"kind": "custom"},
        {"kind": "custom", "target": "torch.nn.Identity"},
        {"kind": "mlp", "activation": "softplus"},
        {"kind": "mlp", "activation": {"kind": "maxout", "pieces": 1}},
    ],
    ids=str,
)
def test_values_outside_the_schema_are_refused(architecture):
    with pytest.raises(ValidationError):
        parse(architecture)
