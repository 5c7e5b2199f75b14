"""`torchvision:<model>`: every classification model that torchvision has."""

import re
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torchvision import models

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint
from nnrecipe.architectures.torchvision_models import TorchvisionModel
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm

NAMES = models.list_models(module=models)
QUICK = {
    *("alexnet", "googlenet", "inception_v3", "maxvit_t"),
    *("regnet_y_400mf", "resnet18", "swin_t", "vit_b_32"),
}
OUTPUTS = OutputSpec(7)


def parse(model, **args):
    given = {"kind": "torchvision", "model": model, "args": args}
    return TypeAdapter(Architecture).validate_python(given)


def published(name):
    """The number of parameters that torchvision's documentation states."""
    if name == "inception_v3":
        return 27_161_264 - 3_326_696  # without the auxiliary classifier
    if name == "vit_h_14":
        return 633_470_440 - (37**2 - 16**2) * 1280  # with 16 patches a side in place of 37
    return models.get_model_weights(name).DEFAULT.meta["num_params"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NAMES],
)
def test_every_model_runs_and_has_its_published_size(name):
    model = blueprint(parse(name), (3, 224, 224), OutputSpec(1000), hidden=Hidden())
    assert sum(parameter.numel() for parameter in model.parameters()) == published(name)
    with torch.device("meta"), torch.no_grad():
        assert model.train()(torch.empty(2, 3, 224, 224)).shape == (2, 1000)


def test_it_keeps_torchvisions_initial_weights():
    torch.manual_seed(3)
    ours = parse("squeezenet1_1").build((3, 64, 64), OUTPUTS, hidden=Hidden())
    torch.manual_seed(3)
    theirs = models.squeezenet1_1(num_classes=7)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert parse("squeezenet1_1").default_init is None


def test_the_trial_draws_no_random_numbers():
    torch.manual_seed(3)
    parse("resnet34").check_inputs((3, 32, 32))
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(()))


def test_transformers_are_built_for_the_datas_images():
    model = blueprint(parse("vit_b_32"), (3, 64, 64), OUTPUTS, hidden=Hidden())
    with torch.device("meta"), torch.no_grad():
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 7)


def test_args_go_to_the_model_and_go_first():
    model = blueprint(parse("alexnet", dropout=0.2), (3, 64, 64), OUTPUTS, hidden=Hidden())
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.2]
    sized = blueprint(parse("vit_b_32", image_size=64), (3, 64, 64), OUTPUTS, hidden=Hidden())
    assert sized.seq_length == 5
    dilated = {"replace_stride_with_dilation": [False, True, True]}
    resnet = blueprint(parse("resnet50", **dilated), (3, 64, 64), OUTPUTS, hidden=Hidden())
    assert resnet.layer4[1].conv2.dilation == (4, 4)


@pytest.mark.parametrize(
    ("name", "args", "inputs", "message"),
    [
        ("alexnet", {}, (1, 64, 64), r"^architecture\.kind: .* 3 channels, .* 1: use timm"),
        ("alexnet", {}, (64,), "needs images .* 64: use mlp"),
        (
            "alexnet",
            {},
            (3, 32, 32),
            r"^architecture\.model: torchvision:alexnet .* 32x32 .*: set data\.image_size: 64$",
        ),
        ("vit_b_16", {}, (3, 40, 40), r"40x40 .* set data\.image_size: 48$"),
        ("vit_b_16", {}, (3, 32, 64), r"32x64 .* set data\.image_size: 64$"),
        ("squeezenet1_1", {}, (3, 8, 8), r"8x8 .* set data\.image_size: 28$"),
        ("alexnet", {"droput": 0.2}, (3, 64, 64), r"^architecture\.args: .*'droput'"),
        ("alexnet", {"dropout": 2}, (3, 64, 64), r"^architecture\.args: .*dropout probability"),
        (
            "googlenet",
            {"aux_logits": True},
            (3, 64, 64),
            r"^architecture\.model: .* GoogLeNetOutputs in training, .* other architecture\.args",
        ),
    ],
    ids=str,
)
def test_what_can_not_be_built_is_refused_with_a_remedy(name, args, inputs, message):
    with pytest.raises(UserError, match=message):
        parse(name, **args).check_inputs(inputs)
    with pytest.raises(UserError, match=message):
        parse(name, **args).build(inputs, OUTPUTS, hidden=Hidden())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "resnet_50"}, r"no model 'resnet_50'"),
        ({"model": "ResNet50"}, r"no model 'ResNet50'"),
        ({"model": "alexnet", "args": {"num_classes": 3}}, "the data tell"),
        ({"model": "alexnet", "args": {"weights": "DEFAULT"}}, "architecture.weights says"),
    ],
    ids=str,
)
def test_what_is_wrong_for_any_data_is_refused_at_once(fields, message):
    with pytest.raises(ValidationError, match=message) as caught:
        TorchvisionModel(**fields)
    (error,) = caught.value.errors()
    if "args" not in fields:
        assert "did you mean resnet50" in error["ctx"]["remedy"]
        assert f"{len(NAMES)} models" in error["ctx"]["remedy"]


@pytest.mark.parametrize(
    ("hidden", "path"),
    [
        (Hidden(norm=BatchNorm()), "norm"),
        (Hidden(dropout=Dropout(drop=0.5)), "regularization.dropout"),
        (Hidden(dropout=Dropout(drop=0.5, force=True)), "regularization.dropout.force"),
        (Hidden(dropblock=DropBlock()), "regularization.dropblock"),
        (Hidden(stochastic_depth=0.1), "regularization.stochastic_depth"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_comes_with_its_own_norm_and_dropout(hidden, path):
    with pytest.raises(
        UserError, match=rf"^{re.escape(path)}: .* its own: leave it out, .* \(args: "
    ):
        parse("alexnet").build((3, 64, 64), OUTPUTS, hidden=hidden)


def test_torchvision_is_imported_only_for_its_models(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert TypeAdapter(Architecture).validate_python("mlp").kind == "mlp"
    with pytest.raises(ImportError):
        parse("alexnet")
