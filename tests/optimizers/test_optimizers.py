from __future__ import annotations

import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import group, standard_rules
from nnrecipe.core.spec import kind_of, members
from nnrecipe.optimizers import CustomOptimizer, OptimizerSpec, Sgd

FAMILY = TypeAdapter(OptimizerSpec)

# settings away from the defaults, in torch's own spelling
SETTINGS = {
    "gd": {},
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.1},
    "adadelta": {"rho": 0.8, "eps": 1e-5},
    "rmsprop": {"alpha": 0.9, "momentum": 0.5, "centered": True},
    "adam": {"betas": (0.8, 0.95), "eps": 1e-6, "amsgrad": True},
    "adamw": {"betas": (0.8, 0.95), "eps": 1e-6, "amsgrad": True},
    "nadam": {"betas": (0.8, 0.95), "momentum_decay": 0.01},
    "muon": {"momentum": 0.8, "nesterov": False, "ns_steps": 3, "adjust_lr_fn": "original"},
    "lbfgs": {"max_iter": 3, "history_size": 2, "line_search_fn": None},
    "custom": {"betas": (0.8, 0.95)},
}
TORCHS = {
    "gd": torch.optim.SGD,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "custom": torch.optim.Adam,
}
each_member = pytest.mark.parametrize("member", members(OptimizerSpec), ids=kind_of)


def spec_of(member, *, settings=None, **fields):
    if kind_of(member) == "custom":
        return member(target="torch.optim:Adam", args=settings or {}, **fields)
    return member(**(settings or {}), **fields)


def net(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(),
        nn.Linear(5, 3),
    ).to(dtype)  # fmt: skip


def train(model, optimizers, *, steps=24):
    """The parameters after each of some steps on fixed data, at rates that fall as in the loop."""
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
    inputs = inputs.to(model[0].weight.dtype)
    targets = torch.arange(16) % 3
    course = []

    def closure():
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    for step in range(steps):
        for entry in (entry for optimizer in optimizers for entry in optimizer.param_groups):
            entry["lr"] = entry.setdefault("initial_lr", entry["lr"]) * (1 - step / steps)
        if len(optimizers) == 1:
            optimizers[0].step(closure)
        else:
            closure()
            for optimizer in optimizers:
                optimizer.step()
        course.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
    return torch.stack(course)


def ours(spec, *, lr, freeze=(), steps=24):
    model = net()
    rules = standard_rules(model, freeze)
    groups = group(model, rules, lr=lr, weight_decay=spec.weight_decay)
    return train(model, [spec.build(groups, lr=lr)], steps=steps)


def theirs(kind, settings, *, lr, weight_decay):
    model = net()
    weights = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim == 1]
    if kind == "lbfgs":
        settings = {"line_search_fn": "strong_wolfe", "history_size": 10, **settings}
        return train(model, [torch.optim.LBFGS([*weights, *others], lr=lr, **settings)])
    if kind == "muon":
        settings = {"adjust_lr_fn": "match_rms_adamw", **settings}
        hidden = [{"params": weights[:-1], "weight_decay": weight_decay}]
        rest = [{"params": weights[-1:], "weight_decay": weight_decay}]
        rest += [{"params": others, "weight_decay": 0.0}]
        muon = torch.optim.Muon(hidden, lr=lr, **settings)
        return train(model, [muon, torch.optim.AdamW(rest, lr=lr, foreach=False)])
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return train(model, [TORCHS[kind](groups, lr=lr, foreach=False, **settings)])


@each_member
def test_with_its_defaults_a_member_walks_as_torchs_optimizer(member):
    spec = spec_of(member)
    expected = theirs(kind_of(member), {}, lr=spec.lr, weight_decay=spec.weight_decay)
    torch.testing.assert_close(ours(spec, lr=spec.lr), expected)


@each_member
def test_with_settings_and_decay_a_member_walks_as_torchs_optimizer(member):
    kind = kind_of(member)
    decay = 0.0 if kind == "lbfgs" else 0.1
    spec = spec_of(member, settings=SETTINGS[kind], weight_decay=decay)
    expected = theirs(kind, SETTINGS[kind], lr=0.02, weight_decay=decay)
    torch.testing.assert_close(ours(spec, lr=0.02), expected)
    assert not torch.allclose(expected, theirs(kind, {}, lr=0.02, weight_decay=0.0))


def test_dampening_reaches_torch():
    settings = {"momentum": 0.9, "dampening": 0.3}
    expected = theirs("sgd", settings, lr=0.02, weight_decay=0.0)
    torch.testing.assert_close(ours(Sgd(**settings), lr=0.02), expected)


@each_member
def test_a_frozen_layer_does_not_move(member):
    course = ours(spec_of(member), lr=0.02, freeze=["^0"])
    start = torch.cat([p.detach().flatten() for p in net().parameters()])
    size = 6 * 8
    assert torch.equal(course[-1, :size], start[:size])
    assert not torch.equal(course[-1, size:], start[size:])


@each_member
def test_the_state_can_be_saved_and_restored(member, tmp_path):
    def build(model):
        spec = spec_of(member)
        groups = group(model, standard_rules(model), lr=0.02, weight_decay=0.0)
        return spec.build(groups, lr=0.02)

    model = net(torch.float32)
    optimizer = build(model)
    train(model, [optimizer], steps=5)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    twin = net(torch.float32)
    twin.load_state_dict(model.state_dict())
    restored = build(twin)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(train(model, [optimizer], steps=5), train(twin, [restored], steps=5))


@each_member
def test_a_loss_that_is_not_finite_raises_nothing(member):
    """It is for the training to see and to say, whatever the optimizer does to the weights."""
    model = net()
    groups = group(model, standard_rules(model), lr=0.1, weight_decay=0.0)
    optimizer = spec_of(member).build(groups, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.full((4, 6), float("nan"), dtype=torch.float64)).sum()
        loss.backward()
        return loss

    assert torch.isnan(optimizer.step(closure))


@each_member
def test_every_member_says_what_it_is_and_where_from(member):
    assert member.source
    assert member.__doc__.splitlines()[0].endswith(".")


def test_who_takes_the_whole_training_set_and_who_calls_the_objective_again():
    family = members(OptimizerSpec)
    assert {kind_of(member) for member in family if member.full_batch} == {"gd", "lbfgs"}
    assert {kind_of(member) for member in family if member.calls_objective} == {"lbfgs"}


@each_member
def test_every_member_takes_auto_and_has_a_default(member):
    assert spec_of(member, lr="auto").lr == "auto"
    assert spec_of(member).lr > 0


@pytest.mark.parametrize("lr", [0, -0.1, "fast", True, "0.1", None, float("nan")])
def test_a_learning_rate_that_is_none_gives_one_message(lr):
    with pytest.raises(ValidationError) as caught:
        FAMILY.validate_python({"kind": "adam", "lr": lr})
    (error,) = caught.value.errors()
    assert error["loc"] == ("adam", "lr")
    assert error["msg"] == "should be a number above 0, or auto"


def test_sgd_is_the_default():
    assert FAMILY.validate_python({"momentum": 0.9}) == Sgd(momentum=0.9)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"nesterov": True}, "optimizer.nesterov"),
        ({"dampening": 0.5}, "optimizer.dampening"),
        ({"momentum": 0.9, "nesterov": True, "dampening": 0.5}, "optimizer.dampening"),
    ],
)
def test_settings_of_sgd_that_exclude_each_other(settings, path):
    with pytest.raises(ValidationError) as caught:
        Sgd(**settings)
    (error,) = caught.value.errors()
    assert error["ctx"]["path"] == path
    assert error["ctx"]["remedy"]


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_what_the_groups_carry_is_not_set_in_args(name):
    with pytest.raises(ValidationError) as caught:
        CustomOptimizer(target="torch.optim:SGD", args={name: 0.1})
    (error,) = caught.value.errors()
    assert error["ctx"]["path"] == f"optimizer.args.{name}"


class SignDescent(torch.optim.Optimizer):
    """A user's optimizer that takes no lr and knows no weight decay."""

    def __init__(self, params, scale=1.0):
        super().__init__(params, {"scale": scale})

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            closure()
        for entry in self.param_groups:
            for parameter in entry["params"]:
                parameter -= entry["lr"] * entry["scale"] * parameter.grad.sign()


def no_optimizer(params):
    return "Adam"


@pytest.fixture
def here(monkeypatch):
    """This module under a name that targets can import."""
    monkeypatch.setitem(sys.modules, "user_optimizers", sys.modules[__name__])
    return "user_optimizers"


def test_a_custom_optimizer_gets_groups_and_args(here):
    spec = CustomOptimizer(target=f"{here}:SignDescent", args={"scale": 0.5})
    course = ours(spec, lr=0.25, steps=1)
    start = torch.cat([p.detach().flatten() for p in net().parameters()])
    steps = (course[0] - start).abs()
    moved = steps[steps > 1e-6]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.125), rtol=1e-4, atol=1e-6)


def test_a_custom_optimizer_without_decay_refuses_it(here):
    spec = CustomOptimizer(target=f"{here}:SignDescent", weight_decay=0.1)
    with pytest.raises(UserError, match=r"optimizer\.weight_decay: .* use regularization\.l2"):
        ours(spec, lr=0.1)


def test_a_custom_target_must_return_an_optimizer(here):
    spec = CustomOptimizer(target=f"{here}:no_optimizer")
    with pytest.raises(UserError, match=r"returned str: return a torch\.optim\.Optimizer"):
        ours(spec, lr=0.1)


def test_wrong_arguments_of_a_custom_optimizer_are_the_users_error(here):
    spec = CustomOptimizer(target=f"{here}:SignDescent", args={"scales": 1})
    with pytest.raises(UserError, match="unexpected keyword argument 'scales'"):
        ours(spec, lr=0.1)
