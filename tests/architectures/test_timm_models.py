"""`timm:<model>`: the models of an optional library."""

import sys

import pytest
import timm
import torch
from pydantic import TypeAdapter, ValidationError

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint
from nnrecipe.architectures.timm_models import TimmModel
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import LayerNorm

OUTPUTS = OutputSpec(7)


def parse(model, **args):
    given = {"kind": "timm", "model": model, "args": args}
    return TypeAdapter(Architecture).validate_python(given)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("resnet10t", (1, 32, 32)),
        ("vit_tiny_patch16_224", (1, 32, 32)),
        ("convnext_atto", (5, 32, 48)),
        ("mixer_s16_224", (3, 64, 64)),
        ("regnety_002", (1, 28, 28)),
    ],
)
def test_models_fit_the_datas_channels_and_size(name, inputs):
    model = blueprint(parse(name), inputs, OUTPUTS, hidden=Hidden())
    with torch.device("meta"), torch.no_grad():
        assert model.train()(torch.empty(2, *inputs)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_they_are_timms_own(name):
    model = blueprint(parse(name), (3, 224, 224), OutputSpec(1000), hidden=Hidden())
    with torch.device("meta"):
        theirs = timm.create_model(name)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_it_keeps_timms_initial_weights():
    torch.manual_seed(3)
    ours = parse("resnet10t").build((1, 32, 32), OUTPUTS, hidden=Hidden())
    torch.manual_seed(3)
    theirs = timm.create_model("resnet10t", num_classes=7, in_chans=1)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_args_go_to_the_model():
    model = blueprint(parse("resnet10t", drop_rate=0.3), (3, 32, 32), OUTPUTS, hidden=Hidden())
    assert model.drop_rate == 0.3


@pytest.mark.parametrize(
    ("name", "args", "inputs", "message"),
    [
        ("resnet10t", {"drop_rat": 0.3}, (3, 32, 32), r"^architecture\.args: .*'drop_rat'"),
        (
            "resnet10t",
            {"features_only": True},
            (3, 32, 32),
            r"^architecture\.model: .* list in training",
        ),
        ("vit_tiny_patch16_224", {"img_size": 64}, (3, 32, 32), r"^architecture\.args: .*img_size"),
        ("mobilenetv3_small_100", {"drop_rate": "a"}, (3, 32, 32), r"^architecture\.args: .*'a'"),
        (
            "bat_resnext26ts",
            {},
            (3, 224, 224),
            r"^architecture\.model: timm:bat_resnext26ts .*: set data\.image_size: 256$",
        ),
        ("resnet10t", {}, (64,), "needs images .* 64: use mlp"),
    ],
    ids=str,
)
def test_what_can_not_be_built_is_refused_with_a_remedy(name, args, inputs, message):
    with pytest.raises(UserError, match=message):
        parse(name, **args).build(inputs, OUTPUTS, hidden=Hidden())


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "hf-hub:timm/resnet18", "resnet_18", ""])
def test_other_names_are_refused_without_looking_anywhere(name):
    with pytest.raises(ValidationError, match="timm has no model") as caught:
        TimmModel(model=name)
    (error,) = caught.value.errors()
    assert ("resnet18" in error["ctx"]["remedy"]) == bool(name)


@pytest.mark.parametrize("hidden", [Hidden(norm=LayerNorm()), Hidden(dropout=Dropout(drop=0.1))])
def test_it_comes_with_its_own_norm_and_dropout(hidden):
    with pytest.raises(UserError, match=r"its own: leave it out, .* \(args: \{drop_rate: 0\.2\}"):
        parse("resnet10t").build((3, 32, 32), OUTPUTS, hidden=hidden)


def test_a_missing_timm_is_said_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValidationError, match="timm is not installed") as caught:
        parse("resnet10t")
    (error,) = caught.value.errors()
    assert error["ctx"]["remedy"] == 'pip install "nnrecipe[timm]"'
