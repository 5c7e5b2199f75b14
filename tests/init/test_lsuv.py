from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.init.lsuv import Lsuv
from nnrecipe.init.scaled import Orthogonal
from nnrecipe.layers.activations import Relu

DEPTH = 10


def perceptron(activation):
    hidden = [m for _ in range(DEPTH) for m in (nn.Linear(64, 64), activation())]
    return nn.Sequential(*hidden, nn.Linear(64, 10))


def convolutions(norm=nn.Identity):
    """Its inputs are [N, 3, 12, 12]."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), norm(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3), norm(32), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()),
        nn.Linear(32 * 16, 10),
    )


CASES = {
    "tanh": (lambda: perceptron(nn.Tanh), (64,)),
    "relu": (lambda: perceptron(nn.ReLU), (64,)),
    "sigmoid": (lambda: perceptron(nn.Sigmoid), (64,)),
    "convolutions": (convolutions, (3, 12, 12)),
    "batch norm": (lambda: convolutions(nn.BatchNorm2d), (3, 12, 12)),
    "instance norm": (lambda: convolutions(nn.InstanceNorm2d), (3, 12, 12)),
}
each_case = pytest.mark.parametrize("name", CASES)


def make(name, *, seed=0, **fields):
    """A model with LSUV's weights, and the inputs they were fitted to, of mean 2 and spread 3."""
    model, shape = CASES[name]
    torch.manual_seed(seed)
    inputs, made = 3 * torch.randn(64, *shape) + 2, model()
    Lsuv(**fields).apply(made, activation=Relu(), inputs=inputs)
    return made, inputs


def layers_of(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


@torch.no_grad()
def variances(model, inputs):
    """Of each layer's outputs, in training without dropout."""
    model = copy.deepcopy(model)
    found = []
    for layer in layers_of(model):
        layer.register_forward_hook(lambda _, __, out: found.append(out.var().item()))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    model(inputs)
    return found


@each_case
def test_every_layers_outputs_have_variance_one(name):
    model, inputs = make(name, output_gain=1.0)
    assert len(layers_of(model)) == len(variances(model, inputs))
    assert variances(model, inputs) == pytest.approx([1.0] * len(layers_of(model)), abs=0.1)


@pytest.mark.parametrize("gain", [0.1, 0.5])
def test_the_output_layers_standard_deviation_is_its_gain(gain):
    model, inputs = make("relu", output_gain=gain, tolerance=1e-3)
    *hidden, output = variances(model, inputs)
    assert hidden == pytest.approx([1.0] * DEPTH, abs=0.01)
    assert output**0.5 == pytest.approx(gain, rel=0.01)


def test_the_output_gain_is_that_of_the_other_scaled_weights():
    assert Lsuv().output_gain == Orthogonal().output_gain == 0.1


@each_case
def test_the_weights_are_scaled_orthogonal_ones(name):
    model, _ = make(name)
    for layer in layers_of(model):
        rows = layer.weight.detach().flatten(1)
        short = rows if len(rows) <= rows.shape[1] else rows.T
        product = short @ short.T
        scale = product.diagonal().mean()
        torch.testing.assert_close(product / scale, torch.eye(len(product)), rtol=0, atol=1e-4)


@each_case
def test_all_but_the_weights_stays_as_it_was(name):
    model, shape = CASES[name]
    torch.manual_seed(0)
    made = model()
    modes = [module.training for module in made.modules()]
    before = {key: value.clone() for key, value in made.named_buffers()}
    Lsuv(bias=0.25).apply(made, activation=Relu(), inputs=torch.randn(16, *shape))
    assert [module.training for module in made.modules()] == modes
    torch.testing.assert_close(dict(made.named_buffers()), before, rtol=0, atol=0)
    assert all((layer.bias == 0.25).all() for layer in layers_of(made))
    assert all(parameter.grad is None for parameter in made.parameters())
    assert not any(module._forward_hooks for module in made.modules())


def test_it_draws_what_orthogonal_draws_and_no_more():
    states = []
    for member in (Lsuv, Orthogonal):
        torch.manual_seed(0)
        made = convolutions(nn.BatchNorm2d)
        inputs = torch.randn(8, 3, 12, 12)
        made.append(NoisyInEval())
        member().apply(made, activation=Relu(), inputs=inputs)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


class NoisyInEval(nn.Module):
    """What a user's model may do."""

    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


def test_outputs_that_are_close_enough_are_left_alone():
    fitted, _ = make("relu", tolerance=1e6, output_gain=1.0)
    torch.manual_seed(0)
    plain = (torch.randn(64, 64), perceptron(nn.ReLU))[1]
    Orthogonal(output_gain=1.0).apply(plain, activation=None)
    torch.testing.assert_close(fitted.state_dict(), plain.state_dict(), rtol=0, atol=0)


class Backwards(nn.Module):
    """Runs its layers in another order than it has them in, the second one twice."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(16, 16)
        self.first = nn.Linear(16, 16)
        self.unused = nn.Linear(16, 16)

    def forward(self, x):
        return self.last(self.first(self.first(x).relu()))


def test_layers_are_scaled_in_the_order_in_which_they_run():
    torch.manual_seed(0)
    model, inputs = Backwards(), 50 * torch.randn(256, 16)
    Lsuv(output_gain=1.0, tolerance=1e-4).apply(model, activation=None, inputs=inputs)
    once = model.first(inputs)
    assert once.var().item() == pytest.approx(1, abs=1e-3)
    assert model(inputs).var().item() == pytest.approx(1, abs=1e-3)
    unused = model.unused.weight.detach()
    torch.testing.assert_close(unused @ unused.T, torch.eye(16), rtol=0, atol=1e-5)


def test_layers_within_attention_that_torch_does_not_call_stay_orthogonal():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    stacked = model.self_attn.in_proj_weight.clone()
    Lsuv(output_gain=1.0).apply(model, activation=None, inputs=torch.randn(8, 5, 16))
    assert torch.equal(model.self_attn.in_proj_weight, stacked)
    inner = model.self_attn.out_proj.weight.detach()
    torch.testing.assert_close(inner @ inner.T, torch.eye(16), rtol=0, atol=1e-5)
    found = {}
    model.linear1.register_forward_hook(lambda _, __, out: found.update(variance=out.var().item()))
    model.eval()(torch.randn(8, 5, 16, requires_grad=True))
    assert found["variance"] == pytest.approx(1, abs=0.3)


def test_without_inputs_it_is_refused():
    with pytest.raises(UserError, match=r"init\.kind: lsuv: .* batch of inputs.*: use orthogonal"):
        Lsuv().apply(perceptron(nn.ReLU), activation=Relu())


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_inputs_that_say_nothing_are_refused_with_the_layer(value):
    model = perceptron(nn.ReLU)
    with pytest.raises(UserError, match=r"init\.kind: lsuv: the outputs of 0 have variance"):
        Lsuv().apply(model, activation=Relu(), inputs=torch.full((4, 64), value))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
