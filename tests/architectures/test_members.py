"""Every architecture with every norm and activation builds, learns and has the right gradient."""

from importlib.util import find_spec
from itertools import cycle, product

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from nnrecipe.architectures import Architecture
from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import NORMS as NORM_MODULES
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.init import Init
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.hidden import Hidden

SMALL = {
    "mlp": ({"widths": [16, 8]}, (1, 3, 4)),
    "lenet5": ({}, (1, 12, 12)),
    "alexnet": ({"width": 0.25}, (1, 16, 16)),
    "vgg": ({"depth": 11, "width": 0.5}, (1, 32, 32)),
    "resnet": ({"depth": 20}, (1, 8, 8)),
    "vit": ({"patch": 4, "dim": 16, "depth": 2, "heads": 2}, (1, 8, 8)),
    "torchvision": ({"model": "shufflenet_v2_x0_5"}, (3, 64, 64)),
    "timm": ({"model": "resnet10t"}, (3, 64, 64)),
    "custom": ({"target": "torch.nn:Linear", "args": {"in_features": 9, "out_features": 5}}, (9,)),
}
SLOW = {"alexnet", "vgg"}
"""Every norm and every activation, but not every pair."""
CLASSES = 5
NORM_FIELDS = {"group": {"groups": 2}}
INIT_FIELDS = {"constant": {"value": 1e-3}}
REFUSED = {
    ("mlp", "instance"),
    *(("vit", norm) for norm in ("batch", "group", "instance")),
    *product(("torchvision", "timm", "custom"), ("batch", "layer", "group", "instance")),
    ("resnet", "maxout"),
}
ARCHITECTURES = [
    pytest.param(
        kind, marks=pytest.mark.skipif(kind == "timm" and not find_spec("timm"), reason="")
    )
    for kind in map(kind_of, members(Architecture))
]
NORMS = [kind_of(norm) for norm in members(Norm)]
ACTIVATIONS = [kind_of(activation) for activation in members(Activation)]


def taken(kind, parts):
    return [part for part in parts if (kind, part) not in REFUSED]


def cases():
    """Architecture, norm and activation, by their names in YAML."""
    for member, param in zip(members(Architecture), ARCHITECTURES, strict=True):
        kind = kind_of(member)
        norms = taken(kind, NORMS)
        activations = taken(kind, ACTIVATIONS) if "activation" in member.model_fields else [""]
        few = zip(cycle(norms), activations)
        for pair in few if kind in SLOW else product(norms, activations):
            yield pytest.param(kind, *pair, marks=param.marks)


CASES = pytest.mark.parametrize(("kind", "norm", "activation"), list(cases()))


def hidden(norm="none", **fields):
    fields = {} if norm == "none" else fields
    given = {"kind": norm, **NORM_FIELDS.get(norm, {}), **fields}
    return Hidden(TypeAdapter(Norm).validate_python(given))


def parse(kind, **fields):
    return TypeAdapter(Architecture).validate_python({"kind": kind, **SMALL[kind][0], **fields})


def build(kind, norm="none", activation="", *, init="kaiming_normal", **norm_fields):
    spec = parse(kind, **({"activation": activation} if activation else {}))
    inputs = SMALL[kind][1]
    torch.manual_seed(0)
    model = spec.build(inputs, OutputSpec(CLASSES), hidden=hidden(norm, **norm_fields))
    x, y = torch.randn(4, *inputs), torch.tensor([0, 1, 2, 4])
    init = TypeAdapter(Init).validate_python({"kind": init, **INIT_FIELDS.get(init, {})})
    init.apply(model, activation=spec.activation, inputs=x)
    return model, x, y


def check_a_step_lowers_the_loss(model, x, y, *, lr):
    def loss():
        torch.manual_seed(1)  # a library's network may have dropout of its own
        return F.cross_entropy(model(x), y)

    before = loss()
    before.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=lr).step()
    assert loss() < before


@CASES
def test_a_step_of_descent_lowers_the_loss(kind, norm, activation):
    check_a_step_lowers_the_loss(*build(kind, norm, activation), lr=1e-3)


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("kind", ["mlp", "lenet5", "alexnet", "vgg", "resnet"])
def test_norms_go_before_or_after_the_nonlinearity(kind, position):
    for norm in taken(kind, NORMS)[1:]:
        model, x, y = build(kind, norm, "relu", position=position)
        first = next(module for module in model.modules() if isinstance(module, NORM_MODULES))
        seen = []
        handle = first.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(*args))
        model(x)
        handle.remove()
        assert (seen[0].min() >= 0) == (position == "after")
        check_a_step_lowers_the_loss(model, x, y, lr=1e-3)


@pytest.mark.parametrize("init", [kind_of(member) for member in members(Init)])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_step_lowers_the_loss_from_any_initial_weights(kind, init):
    own = {kind_of(member): member.default_norm for member in members(Architecture)}
    check_a_step_lowers_the_loss(*build(kind, own[kind], init=init), lr=1e-4)


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


@pytest.mark.parametrize(("kind", "part"), sorted(REFUSED))
def test_what_does_not_fit_is_refused_with_its_place(kind, part):
    if kind == "timm":
        pytest.importorskip("timm")
    settings = {"norm": part} if part in NORMS else {"activation": part}
    place = "norm" if part in NORMS else "activation"
    with pytest.raises(UserError if part in NORMS else ValueError, match=place):
        build(kind, **settings)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_outputs_are_as_many_as_asked_for(kind):
    if kind == "custom":
        pytest.skip("its outputs are its own affair")
    model = parse(kind).build(SMALL[kind][1], OutputSpec(3, task="regression"), hidden=hidden())
    assert model.eval()(torch.randn(2, *SMALL[kind][1])).shape == (2, 3)
