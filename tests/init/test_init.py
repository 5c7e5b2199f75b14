import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from nnrecipe.architectures.resnet import ResNet
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.init import Init
from nnrecipe.layers.activations import LeakyRelu, Relu, Tanh
from nnrecipe.layers.norms import BatchNorm, NoNorm
from nnrecipe.layers.residual import ResidualBlock

RELU = Relu()
SCALED = ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal"]
DRAWN = [*SCALED, "normal"]


def parse(kind, **fields):
    return TypeAdapter(Init).validate_python({"kind": kind, **fields})


def net():
    return nn.Sequential(
        nn.Conv2d(8, 64, 5), nn.BatchNorm2d(64), nn.ReLU(), nn.Linear(300, 500), nn.Linear(500, 10)
    )


def applied(kind, *, activation=RELU, model=None, **fields):
    model = model or net()
    torch.manual_seed(0)
    parse(kind, **fields).apply(model, activation=activation)
    return model


def spreads(gain):
    """Standard deviation of the weights in the network's first two layers, by the papers."""
    fans = [(8 * 25, 64 * 25), (300, 500)]
    return {
        "xavier_normal": [gain * math.sqrt(2 / (i + o)) for i, o in fans],
        "xavier_uniform": [gain * math.sqrt(2 / (i + o)) for i, o in fans],
        "kaiming_normal": [gain * math.sqrt(1 / i) for i, _ in fans],
        "kaiming_uniform": [gain * math.sqrt(1 / i) for i, _ in fans],
        # rows or columns of an orthogonal matrix have length 1
        "orthogonal": [gain * math.sqrt(1 / 200), gain * math.sqrt(1 / 500)],
        "normal": [0.01, 0.01],
    }


@pytest.mark.parametrize("activation", [Relu(), Tanh(), LeakyRelu(slope=0.3)], ids=repr)
@pytest.mark.parametrize("kind", DRAWN)
def test_the_weights_have_the_papers_spread(kind, activation):
    model = applied(kind, activation=activation)
    for layer, expected in zip((model[0], model[3]), spreads(activation.gain())[kind], strict=True):
        assert layer.weight.mean().abs() < 0.03 * expected
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "draw"),
    {
        "normal": lambda w: nn.init.normal_(w, 0, 0.01),
        "xavier_normal": lambda w: nn.init.xavier_normal_(w, 5 / 3),
        "xavier_uniform": lambda w: nn.init.xavier_uniform_(w, 5 / 3),
        "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="tanh"),
        "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="tanh"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, 5 / 3),
    }.items(),
)
def test_under_one_seed_the_weights_are_torchs(kind, draw):
    model, reference = applied(kind, activation=Tanh(), output_gain=1.0), net()
    torch.manual_seed(0)
    for index in (0, 3, 4):
        torch.testing.assert_close(model[index].weight, draw(reference[index].weight))


@pytest.mark.parametrize("kind", ["kaiming_normal", "kaiming_uniform"])
def test_fan_out_keeps_the_size_of_gradients(kind):
    weight = applied(kind, mode="fan_out")[3].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 500), rel=0.03)


@pytest.mark.parametrize(
    ("kind", "gain"),
    [
        ("xavier_normal", 1),
        ("orthogonal", 1),
        ("kaiming_normal", 2**0.5),
        ("kaiming_uniform", 2**0.5),
    ],
)
def test_without_an_activation_the_papers_gain_is_assumed(kind, gain):
    model = applied(kind, activation=None)
    assert model[3].weight.std().item() == pytest.approx(spreads(gain)[kind][1], rel=0.03)


@pytest.mark.parametrize("kind", SCALED)
def test_the_output_layers_weights_are_a_tenth(kind):
    small, full = applied(kind), applied(kind, output_gain=1.0)
    torch.testing.assert_close(small[4].weight, full[4].weight * 0.1)
    assert torch.equal(small[3].weight, full[3].weight)


@pytest.mark.parametrize("kind", SCALED)
def test_the_loss_starts_at_chance(kind):
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    model = applied(kind, model=model)
    torch.manual_seed(1)
    loss = nn.functional.cross_entropy(model(torch.randn(500, 784)), torch.randint(10, (500,)))
    assert loss.item() == pytest.approx(math.log(10), rel=0.02)


def test_fixed_values():
    assert not any(layer.weight.any() for layer in applied("zeros")[3:])
    assert applied("constant", value=0.5)[3].weight.unique().tolist() == [0.5]
    weight = applied("normal", mean=2.0, std=0.5)[3].weight
    assert weight.mean().item() == pytest.approx(2, rel=0.01)
    assert weight.std().item() == pytest.approx(0.5, rel=0.01)
    assert applied("normal", output_gain=0.5)[4].weight.std().item() == pytest.approx(
        0.005, rel=0.05
    )


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_norms_start_as_the_identity_and_biases_at_their_constant(member):
    model = net()
    with torch.no_grad():
        for tensor in (*model.parameters(), model[1].running_mean, model[1].running_var):
            tensor.fill_(7.0)
    takes_bias = "bias" in member.model_fields
    applied(kind_of(member), model=model, **({"bias": 0.25} if takes_bias else {}))
    assert model[1].weight.unique().tolist() == [1]
    assert model[1].bias.unique().tolist() == [0]
    assert model[1].running_mean.unique().tolist() == [0]
    assert model[1].running_var.unique().tolist() == [1]
    assert not (model[4].weight == 7.0).any()
    assert not takes_bias or model[4].bias.unique().tolist() == [0.25]


def test_pytorchs_default_is_what_a_new_module_has():
    model = applied("pytorch_default")
    torch.manual_seed(0)
    torch.testing.assert_close(model.state_dict(), net().state_dict(), rtol=0, atol=0)


def resnet(norm):
    return ResNet().build((3, 8, 8), OutputSpec(10), norm=norm, dropout=None)


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_zero_gamma_silences_the_last_norm_of_each_block_and_no_other(member):
    model = applied(kind_of(member), model=resnet(BatchNorm()), zero_gamma=True)
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 9
    for block in blocks:
        assert not block.last_norm.weight.any()
        assert block.bn1.weight.unique().tolist() == [1]


def test_zero_gamma_needs_blocks_with_a_norm():
    with pytest.raises(UserError, match=r"init\.zero_gamma: the model has no residual block"):
        applied("normal", zero_gamma=True)
    with pytest.raises(UserError, match=r"init\.zero_gamma: .* no norm: set norm\.kind: batch"):
        applied("normal", model=resnet(NoNorm()), zero_gamma=True)


class Tokens(nn.Module):
    """A user's own model, with parameters that are nobody's weights."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 8), 3.0))
        self.grouped = nn.Conv1d(8, 8, 3, groups=4)
        self.up = nn.ConvTranspose2d(4, 6, 3, bias=False)
        self.embedding = nn.Embedding(5, 8)


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_it_takes_a_users_own_model(member):
    model = Tokens()
    before = model.embedding.weight.clone()
    applied(kind_of(member), model=model, activation=None)
    assert model.token.unique().tolist() == [3.0]
    kept = torch.equal(model.embedding.weight, before)
    assert kept is (kind_of(member) != "pytorch_default")


def test_a_model_without_layers_is_refused():
    with pytest.raises(UserError, match=r"init\.kind: zeros: .* no linear or convolutional layer"):
        applied("zeros", model=nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "normal", "std": -1.0},
        {"kind": "kaiming_normal", "mode": "fan_avg"},
        {"kind": "xavier_normal", "output_gain": 0.0},
        {"kind": "pytorch_default", "bias": 0.1},
        {"kind": "he"},
    ],
    ids=str,
)
def test_values_outside_the_schema_are_refused(fields):
    with pytest.raises(ValidationError):
        parse(**fields)
