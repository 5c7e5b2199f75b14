"""Signals of untrained networks against values taken by hand from the same forward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.training.signals import render_signals, signals

INPUTS = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(64) % 3


def _network(unit: Callable[[], nn.Module], *, gain: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 30), unit(), nn.Dropout(0.5), nn.Linear(30, 30), unit(), nn.Linear(30, 3)
    )
    for layer in (model[0], model[3], model[5]):
        nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)
    return model


def _loss(model: nn.Module) -> Tensor:
    torch.manual_seed(1)
    return F.cross_entropy(model(INPUTS), TARGETS)


@pytest.mark.parametrize("unit", [nn.Tanh, nn.ReLU, nn.Sigmoid])
def test_values_and_gradients_by_hand(unit: Callable[[], nn.Module]) -> None:
    found = signals(_network(unit), _loss)
    model = _network(unit)
    torch.manual_seed(1)
    values, x = [], INPUTS
    for layer in model:
        x = layer(x)
        if isinstance(layer, unit):  # type: ignore[arg-type]
            x.retain_grad()
            values.append(x)
    x.retain_grad()
    values.append(x)
    F.cross_entropy(x, TARGETS).backward()
    assert [layer.path for layer in found] == ["0", "3", "5"]
    assert [layer.layer for layer in found] == [f"Linear, {unit().__class__.__name__}"] * 2 + [
        "Linear"
    ]
    for layer, value in zip(found, values, strict=True):
        assert value.grad is not None
        assert layer.mean == pytest.approx(value.mean().item(), abs=1e-6)
        assert layer.std == pytest.approx(value.std(correction=0).item(), rel=1e-5)
        assert layer.gradient == pytest.approx(value.grad.square().mean().sqrt().item(), rel=1e-5)
        counts, _ = torch.histogram(value.detach(), 30, range=(layer.low, layer.high))
        torch.testing.assert_close(torch.tensor(layer.histogram), counts / value.numel())
        assert sum(layer.histogram) == pytest.approx(1)


def test_large_weights_saturate_tanh_and_shut_relus() -> None:
    calm, loud = (signals(_network(nn.Tanh, gain=gain), _loss) for gain in (0.5, 50.0))
    assert calm[0].saturated < 0.01
    assert loud[0].saturated > 0.9
    model = _network(nn.ReLU)
    nn.init.constant_(model[0].bias, -100.0)
    assert signals(model, _loss)[0].saturated == 1
    assert signals(_network(nn.ReLU), _loss)[0].saturated < 0.1


def test_a_network_of_functions_shows_its_layers() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(36, 3)

        def forward(self, x: Tensor) -> Tensor:
            images = F.pad(x, (0, 5)).view(-1, 1, 5, 5)
            return self.last(F.relu(self.first(images)).flatten(1))  # type: ignore[no-any-return]

    found = signals(Functional(), _loss)
    assert [layer.path for layer in found] == ["first", "last"]
    assert all(layer.gradient > 0 for layer in found)


def test_the_model_keeps_its_weights_and_hooks() -> None:
    model = _network(nn.ReLU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    signals(model, _loss)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_table_has_a_row_for_each_layer() -> None:
    lines = render_signals(signals(_network(nn.Tanh), _loss)).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["layer", "of", "mean", "spread", "saturated", "gradient"]
    assert lines[1].startswith("0")
