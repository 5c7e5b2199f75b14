"""Every architecture with every norm and activation builds, learns and has the right gradient."""

from itertools import cycle, product

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from nnrecipe.architectures import Architecture
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.init import Init
from nnrecipe.layers import Activation, Norm

SMALL = {
    "mlp": ({"widths": [16, 8]}, (1, 3, 4)),
    "lenet5": ({}, (1, 12, 12)),
    "vgg": ({"depth": 11}, (1, 32, 32)),
    "resnet": ({"depth": 20}, (1, 8, 8)),
    "custom": ({"target": "torch.nn:Linear", "args": {"in_features": 9, "out_features": 5}}, (9,)),
}
CLASSES = 5
NORM_FIELDS = {"group": {"groups": 2}}
INIT_FIELDS = {"constant": {"value": 1e-3}}
IMPOSSIBLE = {("mlp", "instance")}


def cases():
    """Architecture, norm and activation, by their names in YAML."""
    combinations = []
    for member in members(Architecture):
        kind = kind_of(member)
        norms = [kind_of(norm) for norm in members(Norm)] if member.takes_norm else ["none"]
        takes_activation = "activation" in member.model_fields
        activations = [kind_of(a) for a in members(Activation)] if takes_activation else [""]
        # vgg is slow even at its smallest: every norm and every activation, but not every pair
        pairs = zip(cycle(norms), activations) if kind == "vgg" else product(norms, activations)
        combinations += [(kind, *pair) for pair in pairs if (kind, pair[0]) not in IMPOSSIBLE]
    return combinations


CASES = pytest.mark.parametrize(("kind", "norm", "activation"), cases(), ids=str)


def build(kind, norm="none", activation="", init="kaiming_normal"):
    fields, inputs = SMALL[kind]
    fields = {"kind": kind, **fields, **({"activation": activation} if activation else {})}
    spec = TypeAdapter(Architecture).validate_python(fields)
    norm = TypeAdapter(Norm).validate_python({"kind": norm, **NORM_FIELDS.get(norm, {})})
    torch.manual_seed(0)
    model = spec.build(inputs, OutputSpec(CLASSES), norm=norm, dropout=None)
    init = TypeAdapter(Init).validate_python({"kind": init, **INIT_FIELDS.get(init, {})})
    init.apply(model, activation=spec.activation)
    return model, torch.randn(4, *inputs), torch.tensor([0, 1, 2, 4])


def check_a_step_lowers_the_loss(model, x, y, *, lr):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=lr).step()
    assert F.cross_entropy(model(x), y) < loss


@CASES
def test_a_step_of_descent_lowers_the_loss(kind, norm, activation):
    check_a_step_lowers_the_loss(*build(kind, norm, activation), lr=1e-3)


@pytest.mark.parametrize("init", [kind_of(member) for member in members(Init)])
@pytest.mark.parametrize("member", members(Architecture), ids=kind_of)
def test_a_step_lowers_the_loss_from_any_initial_weights(member, init):
    start = build(kind_of(member), member.default_norm, init=init)
    check_a_step_lowers_the_loss(*start, lr=1e-4)


@CASES
def test_the_gradient_is_the_numerical_one(kind, norm, activation):
    model, x, y = build(kind, norm, activation)
    model, x = model.double().eval(), x.double()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
    direction = [torch.randn_like(p) * p.std(correction=0).clamp_min(0.01) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def loss_at(step):
        moved = {
            name: p + step * d
            for (name, p), d in zip(model.named_parameters(), direction, strict=True)
        }
        return F.cross_entropy(torch.func.functional_call(model, moved, (x,)), y)

    with torch.no_grad():
        numerical = (loss_at(1e-7) - loss_at(-1e-7)) / 2e-7
    torch.testing.assert_close(slope, numerical, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("kind", "places"), [("mlp", 2), ("lenet5", 2), ("vgg", 1)])
def test_dropout_belongs_after_the_hidden_linear_layers(kind, places):
    fields, inputs = SMALL[kind]
    spec = TypeAdapter(Architecture).validate_python({"kind": kind, **fields})
    norm = TypeAdapter(Norm).validate_python("none")
    model = spec.build(inputs, OutputSpec(CLASSES), norm=norm, dropout=0.3)
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates == [0.3] * places


@pytest.mark.parametrize("kind", ["mlp", "lenet5", "vgg"])
def test_dropout_does_not_rename_the_parameters(kind):
    fields, inputs = SMALL[kind]
    spec = TypeAdapter(Architecture).validate_python({"kind": kind, **fields})
    norm = TypeAdapter(Norm).validate_python("none")
    with_it, without = (
        spec.build(inputs, OutputSpec(CLASSES), norm=norm, dropout=rate).state_dict().keys()
        for rate in (0.3, 0.0)
    )
    assert with_it == without


def test_vggs_imagenet_form_has_a_dropout_of_its_own():
    spec = TypeAdapter(Architecture).validate_python({"kind": "vgg", "form": "imagenet"})
    norm = TypeAdapter(Norm).validate_python("none")
    with torch.device("meta"):
        for dropout, expected in [(None, 0.5), (0.0, 0.0), (0.2, 0.2)]:
            model = spec.build((3, 224, 224), OutputSpec(10), norm=norm, dropout=dropout)
            rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
            assert rates == [expected, expected]
