import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from nnrecipe.architectures.resnet import ResNet
from nnrecipe.architectures.vit import Vit
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.init import Init
from nnrecipe.layers.activations import LeakyRelu, Maxout, Relu, Tanh
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm, NoNorm
from nnrecipe.layers.residual import ResidualBlock

RELU = Relu()
SCALED = ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal"]
DRAWN = [*SCALED, "normal"]


def parse(kind, **fields):
    return TypeAdapter(Init).validate_python({"kind": kind, **fields})


def net():
    """Its inputs are [N, 8, 5, 304]."""
    return nn.Sequential(
        nn.Conv2d(8, 64, 5), nn.BatchNorm2d(64), nn.ReLU(), nn.Linear(300, 500), nn.Linear(500, 10)
    )


def applied(kind, *, activation=RELU, model=None, shape=(8, 5, 304), **fields):
    model = model or net()
    torch.manual_seed(1)
    inputs = torch.randn(4, *shape)
    torch.manual_seed(0)
    parse(kind, **fields).apply(model, activation=activation, inputs=inputs)
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


MAXOUT = Maxout(pieces=3)


def maxout_net():
    """400 inputs, 300 hidden units that are each the largest of three, 300 outputs."""
    return nn.Sequential(nn.Linear(400, 900), MAXOUT.build(), nn.Linear(300, 300))


@pytest.mark.parametrize(
    ("kind", "fields", "fan"),
    [
        ("xavier_normal", {}, (400 + 300) / 2),
        ("xavier_uniform", {}, (400 + 300) / 2),
        ("kaiming_normal", {}, 400),
        ("kaiming_uniform", {}, 400),
        ("kaiming_normal", {"mode": "fan_out"}, 300),
        ("kaiming_uniform", {"mode": "fan_out"}, 300),
    ],
)
def test_the_fan_out_of_a_maxout_layer_is_that_of_one_piece(kind, fields, fan):
    model = applied(kind, model=maxout_net(), shape=(400,), activation=MAXOUT, **fields)
    assert model[0].weight.std().item() == pytest.approx(MAXOUT.gain() / math.sqrt(fan), rel=0.01)


def test_each_piece_of_a_maxout_layer_is_orthogonal():
    model = applied("orthogonal", model=maxout_net(), shape=(400,), activation=MAXOUT)
    for piece in range(3):
        rows = model[0].weight.detach()[piece::3] / MAXOUT.gain()
        torch.testing.assert_close(rows @ rows.T, torch.eye(300), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["kaiming_normal", "kaiming_uniform", "orthogonal"])
def test_a_deep_maxout_net_keeps_the_size_of_its_signals(kind):
    layers = [m for _ in range(20) for m in (nn.Linear(100, 300), MAXOUT.build())]
    model = nn.Sequential(*layers, nn.Linear(100, 10))
    model = applied(kind, model=model, shape=(100,), activation=MAXOUT)
    torch.manual_seed(1)
    end = model[:-1](torch.randn(200, 100))
    assert 0.3 < end.square().mean().sqrt() < 3


def test_pytorchs_default_is_what_a_new_module_has():
    model = applied("pytorch_default")
    torch.manual_seed(0)
    torch.testing.assert_close(model.state_dict(), net().state_dict(), rtol=0, atol=0)


def resnet(norm):
    return ResNet().build((3, 8, 8), OutputSpec(10), hidden=Hidden(norm=norm))


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_zero_gamma_silences_the_last_norm_of_each_block_and_no_other(member):
    model = applied(kind_of(member), model=resnet(BatchNorm()), shape=(3, 8, 8), zero_gamma=True)
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    assert [block.passes_all_channels for block in blocks].count(True) == 7
    assert len(blocks) == 9
    for block in blocks:
        assert bool(block.last_norm.weight.any()) != block.passes_all_channels
        assert block.bn1.weight.unique().tolist() == [1]


def vit():
    """Its branches end in a linear layer."""
    return Vit(depth=1).build((3, 8, 8), OutputSpec(10), hidden=Hidden())


@pytest.mark.parametrize("make", [net, vit])
def test_zero_gamma_needs_blocks_that_end_in_a_norm(make):
    with pytest.raises(UserError, match=r"init\.zero_gamma: .* block that ends in a norm, .* out$"):
        applied("normal", model=make(), zero_gamma=True)


@pytest.mark.parametrize("norm", [NoNorm(), BatchNorm(frozen=True)], ids=repr)
def test_zero_gamma_needs_a_scale_that_trains(norm):
    with pytest.raises(UserError, match=r"init\.zero_gamma: .* trains: set norm\.kind: batch"):
        applied("normal", model=resnet(norm), zero_gamma=True)


class Tokens(nn.Module):
    """A user's own model, with parameters that are nobody's weights."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 8), 3.0))
        self.grouped = nn.Conv1d(8, 8, 3, groups=4)
        self.up = nn.ConvTranspose2d(4, 6, 3, bias=False)
        self.embedding = nn.Embedding(5, 8)

    def forward(self, x):
        """x: [N, 8, 10]."""
        found = (
            self.grouped(x).unflatten(1, (4, 2)) + self.token.mean() + self.embedding.weight.mean()
        )
        return self.up(found)


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_it_takes_a_users_own_model(member):
    model = Tokens()
    before = model.embedding.weight.clone()
    applied(kind_of(member), model=model, activation=None, shape=(8, 10))
    assert model.token.unique().tolist() == [3.0]
    kept = torch.equal(model.embedding.weight, before)
    assert kept is (kind_of(member) != "pytorch_default")


@pytest.mark.parametrize("member", members(Init), ids=kind_of)
def test_each_says_where_it_is_from(member):
    assert member.source
    assert member.source not in member.__doc__


def test_normal_says_what_the_lecture_calls_small_and_large():
    first_line = parse("normal").__doc__.splitlines()[0]
    assert "0.01 is the lecture's small, 1.0 its large" in first_line


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


def test_a_declared_gain_takes_the_place_of_the_activations() -> None:
    for kind in ("xavier_normal", "kaiming_uniform", "orthogonal"):
        models = [_deep(), _deep()]
        for model, fields in zip(models, ({"gain": 0.5}, {"gain": 1.0}), strict=True):
            torch.manual_seed(3)
            spec = TypeAdapter(Init).validate_python({"kind": kind, **fields})
            spec.apply(model, activation=Relu())
        for half, whole in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(2 * half, whole)


def test_a_regression_may_start_at_the_mean_of_its_targets() -> None:
    model = _deep()
    outputs = OutputSpec(4, task="regression", target_mean=(1.0, -2.0, 0.5, 30.0))
    spec = TypeAdapter(Init).validate_python({"kind": "zeros", "output_bias": "target_mean"})
    spec.apply(model, activation=None, outputs=outputs)
    assert model(torch.randn(5, 6))[3].tolist() == [1.0, -2.0, 0.5, 30.0]
    with pytest.raises(UserError, match=r"init\.output_bias: .* is for regression"):
        spec.apply(model, activation=None, outputs=OutputSpec(4))


def _deep() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def test_a_block_that_starts_as_the_identity_wakes_up_in_every_channel() -> None:
    """With a shortcut that pads with zeros a channel may not hang on its branch alone."""
    torch.manual_seed(0)
    spec = ResNet(depth=8, width=0.25)
    model = spec.build((1, 8, 8), OutputSpec(4), hidden=Hidden(norm=BatchNorm()))
    parse("kaiming_normal", zero_gamma=True).apply(model, activation=RELU)
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    zeroed = [not bool(block.last_norm.weight.any()) for block in blocks]
    assert zeroed == [block.passes_all_channels for block in blocks] == [True, False, False]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 4
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert all(bool((block.last_norm.weight != 0).all()) for block in blocks)
