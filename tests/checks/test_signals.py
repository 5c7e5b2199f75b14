"""Verdicts on the signals of untrained networks: sound starts pass, sick ones are named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.signals import judge_signals
from nnrecipe.core.causes import Cause
from nnrecipe.training.signals import signals

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
