"""Both listeners see every nonlinearity, however forward calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnrecipe.training.activity import listening
from nnrecipe.training.nonlinearities import FUNCTIONS, MODULES, Shape, shape_of
from nnrecipe.training.signals import signals

INPUTS = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


class _Calls(nn.Module):
    """A layer, then what the function makes of it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 8)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        hidden = self.layer(x)
        if FUNCTIONS.get(self.function) == "PReLU":
            return self.function(hidden, torch.tensor([0.1]))
        return self.function(hidden)


@pytest.mark.filterwarnings("ignore:nn.functional")
@pytest.mark.parametrize(("function", "name"), FUNCTIONS.items())
def test_functions_are_seen(function: Callable[..., Any], name: str) -> None:
    model = _Calls(function)
    (found,) = signals(model, lambda m: m(INPUTS).square().mean())
    assert found.layer == f"Linear, {name}"
    with torch.no_grad():
        values = model(INPUTS)
    assert found.std == pytest.approx(values.std(correction=0).item(), rel=1e-5)
    with listening(model) as activity, torch.no_grad():
        model(INPUTS)
    assert activity.rms["layer"].item() == pytest.approx(values.square().mean().sqrt().item())
    assert ("layer" in activity.silent) is (shape_of(name) is Shape.RECTIFIED)
    assert ("layer" in activity.saturated) is (shape_of(name) in (Shape.TANH, Shape.SIGMOID))


@pytest.mark.parametrize("module", MODULES[:-1])
def test_modules_have_the_name_of_their_functions(module: Any) -> None:
    assert module.__name__ in FUNCTIONS.values()
    (found,) = signals(_Calls(module()), lambda m: m(INPUTS).square().mean())
    assert found.layer == f"Linear, {module.__name__}"


def test_what_works_in_place_follows_its_layer() -> None:
    for inplace in (False, True):
        model = _Calls(nn.ReLU(inplace=inplace))
        (found,) = signals(model, lambda m: m(INPUTS).square().mean())
        hidden = model.layer(INPUTS).relu().detach().requires_grad_()
        hidden.square().mean().backward()
        assert hidden.grad is not None
        assert found.layer == "Linear, ReLU"
        assert found.gradient == pytest.approx(hidden.grad.square().mean().sqrt().item())
