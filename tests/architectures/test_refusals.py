"""What can't be built is refused with the YAML path, the value and a remedy."""

import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers import Norm


def parse(architecture):
    return TypeAdapter(Architecture).validate_python(architecture)


def build(architecture, inputs, *, norm="none", dropout=None):
    norm = TypeAdapter(Norm).validate_python(norm)
    return blueprint(parse(architecture), inputs, OutputSpec(10), norm=norm, dropout=dropout)


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


def test_resnet_takes_no_dropout():
    with pytest.raises(UserError, match=r"regularization\.dropout: .* batch norm .* variance"):
        build("resnet", (3, 32, 32), norm="batch", dropout=0.5)
    build("resnet", (3, 32, 32), norm="batch", dropout=0.0)


@pytest.mark.parametrize("setting", [{"norm": "batch"}, {"dropout": 0.5}])
def test_a_custom_architecture_takes_neither_norm_nor_dropout(setting):
    custom = {"kind": "custom", "target": "torch.nn:Identity"}
    with pytest.raises(UserError, match="custom architecture"):
        build(custom, (4,), **setting)


def test_norms_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"norm\.groups"):
        build("lenet5", (1, 28, 28), norm="group")
    with pytest.raises(UserError, match=r"norm\.kind: instance"):
        build("mlp", (64,), norm="instance")


@pytest.mark.parametrize(
    "architecture",
    [
        {"kind": "vgg", "depth": 12},
        {"kind": "resnet", "depth": 19},
        {"kind": "mlp", "widths": [0]},
        {"kind": "lenet5", "pool": "mean"},
        {"kind": "custom"},
        {"kind": "custom", "target": "torch.nn.Identity"},
        {"kind": "mlp", "activation": "softplus"},
    ],
    ids=str,
)
def test_values_outside_the_schema_are_refused(architecture):
    with pytest.raises(ValidationError):
        parse(architecture)
