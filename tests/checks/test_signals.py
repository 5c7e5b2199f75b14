"""Verdicts on the signals of untrained networks: sound starts pass, sick ones are named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.signals import judge_signals
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.init.scaled import KaimingNormal
from nnrecipe.training.signals import Signal, signals

DEPTH = 8


def _deep(unit: Callable[[], nn.Module], gain: float, *, bias: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = [layer for _ in range(DEPTH) for layer in (nn.Linear(32, 32), unit())]
    model = nn.Sequential(*hidden, nn.Linear(32, 3))
    for layer in (module for module in model if isinstance(module, nn.Linear)):
        nn.init.normal_(layer.weight, std=gain * 32**-0.5)
        nn.init.constant_(layer.bias, bias)
    return model


def _loss(model: nn.Module) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return F.cross_entropy(model(torch.randn(64, 32, generator=draw)), torch.arange(64) % 3)


def _causes(model: nn.Module) -> set[Cause | None]:
    return {finding.cause for finding in judge_signals(signals(model, _loss))} - {None}


@pytest.mark.parametrize(("unit", "gain"), [(nn.ReLU, 2**0.5), (nn.Tanh, 1.0)])
def test_sound_starts_pass(unit: Callable[[], nn.Module], gain: float) -> None:
    assert _causes(_deep(unit, gain)) == set()


@pytest.mark.parametrize(
    ("unit", "gain", "causes"),
    [
        (nn.ReLU, 0.1, {Cause.INIT_TOO_SMALL, Cause.VANISHING_GRADIENT}),
        (nn.ReLU, 20.0, {Cause.EXPLODING_ACTIVATIONS, Cause.EXPLODING_GRADIENT}),
        (nn.Tanh, 50.0, {Cause.SATURATED_UNITS}),
        (nn.Sigmoid, 1.0, {Cause.VANISHING_GRADIENT}),
    ],
)
def test_sick_starts_are_named(
    unit: Callable[[], nn.Module], gain: float, causes: set[Cause]
) -> None:
    assert causes <= _causes(_deep(unit, gain))


def test_relus_that_never_fire_are_named() -> None:
    assert Cause.DEAD_RELU in _causes(_deep(nn.ReLU, 1.0, bias=-10.0))


class Doubled(nn.Module):
    """A residual branch that is counted several times."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.inner = factor, nn.Linear(32, 32)
        nn.init.kaiming_normal_(self.inner.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * F.relu(self.inner(x))


def _chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(32, 32), *layers, nn.Linear(32, 3))


def _branches(factor: float) -> nn.Module:
    torch.manual_seed(0)
    return _chain(*(Doubled(factor) for _ in range(12)))


def _default(unit: Callable[[], nn.Module], depth: int) -> nn.Module:
    torch.manual_seed(0)
    return _chain(*(part for _ in range(depth) for part in (nn.Linear(32, 32), unit())))


def _judged(make: Callable[[], nn.Module]) -> list[Finding]:
    """The findings, with fitting weights as the counterfactual."""

    def redrawn() -> list[Signal]:
        model = make()
        torch.manual_seed(2)
        KaimingNormal().apply(model, activation=None)
        return signals(model, _loss)

    return [f for f in judge_signals(signals(make(), _loss), redrawn) if f.cause is not None]


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: _deep(nn.ReLU, 0.1), Cause.INIT_TOO_SMALL),
        (lambda: _deep(nn.ReLU, 20.0), Cause.INIT_TOO_LARGE),
        (lambda: _default(nn.Sigmoid, 10), Cause.SATURATING_DEPTH),
        (lambda: _default(nn.ReLU, 40), Cause.TOO_DEEP),
        (lambda: _branches(3.0), Cause.EXPLODING_ACTIVATIONS),
    ],
)
def test_other_weights_tell_the_weights_fault_from_the_layers(
    make: Callable[[], nn.Module], cause: Cause
) -> None:
    findings = {finding.check: finding for finding in _judged(make)}
    assert findings["activations"].cause is cause
    assert findings["activations"].confidence > 0.6
    assert findings["gradients"].verdict is Verdict.WARN
    if cause is not Cause.EXPLODING_ACTIVATIONS:
        assert findings["gradients"].cause is cause


@pytest.mark.parametrize(
    "make", [lambda: _branches(0.3), lambda: _default(nn.Tanh, 5), lambda: _default(nn.ReLU, 4)]
)
def test_branches_and_a_few_layers_are_sound(make: Callable[[], nn.Module]) -> None:
    assert _judged(make) == []


class Functional(nn.Module):
    """Nonlinearities that are no modules."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        nn.init.constant_(self.first.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(F.relu(self.first(x)))))  # type: ignore[no-any-return]


def test_functions_count_as_their_modules_do() -> None:
    layers = signals(Functional(0.0), _loss)
    assert [layer.layer for layer in layers] == ["Linear, ReLU", "Linear, Tanh", "Linear"]
    assert _judged(lambda: Functional(0.0)) == []


def test_a_layer_that_nothing_gets_past_fails() -> None:
    found = {finding.check: finding for finding in _judged(lambda: Functional(-30.0))}
    assert found["saturation"].verdict is Verdict.FAIL
    assert found["saturation"].cause is Cause.DEAD_RELU


def test_a_branch_that_is_switched_off_is_sound() -> None:
    def model() -> nn.Module:
        made = _branches(0.3)
        for module in made.modules():
            if isinstance(module, Doubled):
                module.factor = 1e-6
        return made

    assert _judged(model) == []


def test_frozen_layers_get_no_gradient_and_no_verdict_on_it() -> None:
    model = _deep(nn.ReLU, 2**0.5)
    model[:10].requires_grad_(False)
    assert [layer.reached for layer in signals(model, _loss)] == [False] * 5 + [True] * 4
    assert _causes(model) == set()


def test_a_head_that_starts_at_zero_is_no_vanishing_gradient() -> None:
    model = _deep(nn.ReLU, 2**0.5)
    nn.init.zeros_(model[-1].weight)
    assert _causes(model) == set()


def test_nan_is_called_so_and_not_an_explosion() -> None:
    model = _deep(nn.Tanh, 1.0)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    assert _causes(model) == {Cause.NON_FINITE}
