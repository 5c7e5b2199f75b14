"""Where dropout, DropBlock and stochastic depth sit in each network, and what they leave alone."""

from itertools import pairwise

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.dropblock import DropBlock, DropBlock2d
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.layers.residual import Bottleneck, ResidualBlock, StochasticDepth

FORCED = Dropout(drop=0.3, force=True)
BLOCKS = DropBlock(drop=0.2, block_size=3)
IMAGE = (3, 32, 32)


def build(architecture, hidden, inputs=IMAGE):
    spec = TypeAdapter(Architecture).validate_python(architecture)
    return blueprint(spec, inputs, OutputSpec(10), hidden=hidden)


def kinds_of(model, *kinds):
    return [type(m) for m in model.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize(("kind", "places"), [("lenet5", 2), ("vgg", 1), ("mlp", 3), ("resnet", 9)])
def test_every_place_has_its_own_probability(kind, places):
    fields = {"widths": [9, 8, 7]} if kind == "mlp" else {}
    rates = [0.1 + 0.05 * i for i in range(places)]
    model = build({"kind": kind, **fields}, Hidden(dropout=Dropout(drop=rates, force=True)))
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == rates


@pytest.mark.parametrize("kind", ["lenet5", "mlp"])
def test_dropout_comes_after_each_hidden_linear_layer(kind):
    model = build({"kind": kind}, Hidden(dropout=FORCED))
    found = kinds_of(model, nn.Linear, nn.ReLU, nn.Dropout)
    once = [nn.Linear, nn.ReLU, nn.Dropout]
    expected = [nn.ReLU] * 2 + 2 * once if kind == "lenet5" else once
    assert found == [*expected, nn.Linear]


def test_vggs_imagenet_form_has_a_dropout_of_its_own():
    imagenet = {"kind": "vgg", "form": "imagenet"}
    given = [(None, 0.5), (Dropout(drop=0.0), 0.0), (Dropout(keep=0.75), 0.25)]
    for dropout, expected in given:
        model = build(imagenet, Hidden(dropout=dropout), (3, 224, 224))
        rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
        assert rates == [expected, expected]


def calls(module, x):
    """The kinds of a module's layers in the order in which they are called."""
    called = []
    leaves = [m for m in module.modules() if not any(m.children())]
    handles = [
        leaf.register_forward_hook(lambda m, *_: called.append(type(m).__name__)) for leaf in leaves
    ]
    module(x)
    for handle in handles:
        handle.remove()
    return called


ORDER = {
    (14, "before"): "Conv2d BatchNorm2d ReLU Dropout Conv2d BatchNorm2d ReLU",
    (14, "after"): "Conv2d ReLU BatchNorm2d Dropout Conv2d BatchNorm2d ReLU",
    (50, "before"): "Conv2d BatchNorm2d ReLU Conv2d BatchNorm2d ReLU Dropout "
    "Conv2d BatchNorm2d ReLU",
    (50, "after"): "Conv2d ReLU BatchNorm2d Conv2d ReLU BatchNorm2d Dropout "
    "Conv2d BatchNorm2d ReLU",
}


@pytest.mark.parametrize(("depth", "position"), ORDER)
def test_a_blocks_dropout_is_before_its_last_convolution(depth, position):
    hidden = Hidden(BatchNorm(position=position), FORCED)
    block = build({"kind": "resnet", "depth": depth}, hidden).layer1[1]
    x = torch.empty(2, block.conv1.in_channels, 8, 8, device="meta")
    assert calls(block, x) == ORDER[depth, position].split()


@pytest.mark.parametrize("depth", [20, 18, 50])
def test_dropblock_is_in_the_last_two_stages_of_a_resnet(depth):
    model = build({"kind": "resnet", "depth": depth}, Hidden(BatchNorm(), dropblock=BLOCKS))
    stages = [stage for name, stage in model.named_children() if name.startswith("layer")]
    for number, stage in enumerate(stages, start=1):
        for block in stage:
            convolutions = 3 if isinstance(block, Bottleneck) else 2
            expected = convolutions + 1 if number > len(stages) - 2 else 0  # and the shortcut
            assert len(kinds_of(block, DropBlock2d)) == expected
    assert not kinds_of(model.conv1, DropBlock2d)


@pytest.mark.parametrize(
    ("architecture", "places"), [("lenet5", 2), ({"kind": "vgg", "depth": 16}, 6)], ids=str
)
def test_dropblock_follows_the_activation(architecture, places):
    hidden = Hidden(dropblock=DropBlock(drop=0.3, block_size=2))
    model = build(architecture, hidden).to_empty(device="cpu")
    found = calls(model, torch.randn(2, *IMAGE))
    after = [a for a, b in pairwise(found) if b == "DropBlock2d"]
    assert after == ["ReLU"] * places
    sizes = {(m.p, m.block_size) for m in model.modules() if isinstance(m, DropBlock2d)}
    assert sizes == {(0.3, 2)}


def test_the_probability_to_skip_a_block_rises_linearly_to_the_last():
    model = build({"kind": "resnet", "depth": 26}, Hidden(BatchNorm(), stochastic_depth=0.6))
    rates = [m.p for m in model.modules() if isinstance(m, StochasticDepth)]
    assert rates == pytest.approx([0.6 * block / 12 for block in range(1, 13)])


@pytest.mark.parametrize("depth", [14, 50])
def test_a_skipped_block_is_its_shortcut_and_the_others_make_up_for_it(depth):
    hidden = Hidden(BatchNorm(), stochastic_depth=0.999999)
    torch.manual_seed(0)
    spec = TypeAdapter(Architecture).validate_python({"kind": "resnet", "depth": depth})
    model = spec.build(IMAGE, OutputSpec(10), hidden=hidden)
    block = [m for m in model.modules() if isinstance(m, ResidualBlock)][-1]
    x = torch.rand(2, block.last_norm.num_features, 4, 4)
    torch.testing.assert_close(block(x), x)
    assert not torch.allclose(block.eval()(x), x)


@pytest.mark.parametrize("kind", ["mlp", "lenet5", "vgg", "resnet"])
def test_nothing_renames_a_parameter_or_changes_the_evaluation(kind):
    refuses = TypeAdapter(Architecture).validate_python(kind).refuses
    hidden = Hidden(
        BatchNorm(),
        FORCED,
        None if "regularization.dropblock" in refuses else BLOCKS,
        0.0 if "regularization.stochastic_depth" in refuses else 0.5,
    )
    spec = TypeAdapter(Architecture).validate_python(kind)
    plain = spec.build(IMAGE, OutputSpec(10), hidden=Hidden(BatchNorm(), Dropout(drop=0.0)))
    omitting = spec.build(IMAGE, OutputSpec(10), hidden=hidden)
    assert list(plain.state_dict()) == list(omitting.state_dict())
    omitting.load_state_dict(plain.state_dict())
    x = torch.randn(4, *IMAGE)
    torch.testing.assert_close(omitting.eval()(x), plain.eval()(x))
    omitting.train()
    assert not torch.equal(omitting(x), omitting(x))


def test_the_output_has_the_same_expectation_in_training_and_in_evaluation():
    spec = TypeAdapter(Architecture).validate_python({"kind": "mlp", "widths": [200]})
    model = spec.build((4,), OutputSpec(3), hidden=Hidden(dropout=Dropout(keep=0.6)))
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.no_grad():
        training = model(x.expand(20_000, -1)).double()
        expected = model.eval()(x).double()[0]
    error = training.std(0) / len(training) ** 0.5
    assert ((training.mean(0) - expected).abs() < 4 * error).all()
