"""What a sampled step measures, against the same figures taken by hand; and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nnrecipe.data.batch import Batch
from nnrecipe.regularization import Regularization
from nnrecipe.training.activity import listening
from nnrecipe.training.monitors import Reading
from nnrecipe.training.setup import Limits, TrainSetup
from nnrecipe.training.steps import train_steps


class Functional(nn.Module):
    """A network whose nonlinearities are functions, not modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.hidden = nn.Linear(4 * 16, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(x)).flatten(1)
        logits: Tensor = self.out(self.hidden(h).tanh())
        return logits


def _modules() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten()),
        *(nn.Linear(64, 8), nn.Dropout(0.3), nn.Sigmoid(), nn.Linear(8, 3)),
    )


def _batches(count: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(torch.randn(8, 1, 6, 6, generator=draw), torch.randint(3, (8,), generator=draw))
        for _ in range(count)
    ]


def _setup(model: nn.Module, **changes: Any) -> TrainSetup:
    settings = {
        "model": model,
        "loss": F.cross_entropy,
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.01),
        "penalty": Regularization().penalty(),
        "device": torch.device("cpu"),
        "monitor_every": 1,
    }
    return TrainSetup(**(settings | changes))


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def _reading(setup: TrainSetup, batches: list[Batch]) -> Reading:
    sample = [record.sample for record in train_steps(setup, batches)][-1]
    assert sample is not None
    return sample.read()


@pytest.mark.parametrize("make", [Functional, _modules])
@pytest.mark.parametrize(
    "changes",
    [{}, {"limits": Limits(gradient_norm=0.1, gradient_value=0.01)}, {"accumulate": 2}],
)
def test_monitors_do_not_change_a_bit(
    make: Callable[[], nn.Module], changes: dict[str, Any]
) -> None:
    ends = []
    for every in (1, 3, None):
        setup = _setup(_seeded(make), monitor_every=every, **changes)
        torch.manual_seed(7)
        losses = [record.loss for record in train_steps(setup, _batches(6))]
        state = setup.optimizer.state_dict()["state"].values()
        ends.append([*losses, *setup.model.state_dict().values(), *(s["exp_avg"] for s in state)])
        assert not setup.model._forward_hooks
        assert not any(module._forward_hooks for module in setup.model.modules())
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True))


def test_layers_are_measured_after_their_nonlinearity() -> None:
    model = _seeded(Functional)
    with torch.no_grad():
        model.conv.bias.copy_(torch.tensor([-100.0, 0.0, 0.0, -100.0]))
        model.hidden.weight.mul_(100)
    (batch,) = _batches(1)
    with torch.no_grad():
        conv = model.conv(batch.inputs).relu()
        hidden = model.hidden(conv.flatten(1)).tanh()
        logits = model.out(hidden)
    reading = _reading(_setup(model), [batch])
    expected = {"conv": conv, "hidden": hidden, "out": logits}
    assert reading.activation_norm == pytest.approx(
        {path: values.square().mean().sqrt().item() for path, values in expected.items()}
    )
    assert reading.dead_units == {"conv": 0.5}
    saturated = (hidden.abs() > 0.97).float().mean().item()
    assert saturated > 0.5
    assert reading.saturated_units == {"hidden": pytest.approx(saturated)}


def test_the_units_of_a_linear_layer_over_tokens_are_its_last_dimension() -> None:
    layer = nn.Linear(4, 2)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, -1.0]))
    model = nn.Sequential(layer, nn.ReLU())
    with listening(model) as activity:
        model(torch.randn(3, 5, 4))
    assert activity.silent["0"].item() == 0.5


def test_a_layer_that_is_called_twice_counts_once_and_a_second_pass_not_at_all() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU())
    with listening(model) as activity:
        first = torch.randn(3, 4)
        model(first)
        model(100 * first)
    values = layer(first).relu()
    assert activity.rms["0"].item() == pytest.approx(values.square().mean().sqrt().item())


def test_listening_ends_where_the_model_fails() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError

    model = nn.Sequential(nn.Linear(4, 4), Broken())
    with pytest.raises(ZeroDivisionError), listening(model):
        model(torch.randn(3, 4))
    assert not model._forward_hooks
    assert not torch._C._len_torch_function_stack()


@pytest.mark.parametrize("limit", [0.05, 1e6])
def test_gradients_are_measured_before_clipping(limit: float) -> None:
    model, (batch,) = _seeded(Functional), _batches(1)
    F.cross_entropy(model(batch.inputs), batch.targets).backward()
    norms = {path: p.grad.norm().item() for path, p in model.named_parameters()}
    total = math.hypot(*norms.values())
    reading = _reading(_setup(model, limits=Limits(gradient_norm=limit)), [batch])
    weights = {path: norm for path, norm in norms.items() if path.endswith("weight")}
    assert reading.gradient_norm == pytest.approx(weights, rel=1e-5)
    assert reading.total_gradient == pytest.approx(total, rel=1e-5)
    assert reading.clip_factor == pytest.approx(min(1.0, limit / total), rel=1e-3)
    assert reading.lr == 0.01


@pytest.mark.parametrize(
    ("optimizer", "damped"),
    [
        (lambda p: torch.optim.Adam(p, eps=1.0), True),
        (lambda p: torch.optim.Adam(p), False),
        (lambda p: torch.optim.RMSprop(p, eps=1.0), True),
        (lambda p: torch.optim.Adagrad(p), False),
    ],
)
def test_the_share_of_eps_in_the_denominator(optimizer: Any, damped: bool) -> None:
    model = _seeded(Functional)
    reading = _reading(_setup(model, optimizer=optimizer(model.parameters())), _batches(3))
    assert set(reading.damping) == {"conv.weight", "hidden.weight", "out.weight"}
    for share in reading.damping.values():
        assert share > 0.9 if damped else share < 0.01


def test_what_has_no_eps_has_no_share_of_it() -> None:
    model = _seeded(Functional)
    for optimizer in (torch.optim.SGD, torch.optim.Adadelta):
        setup = _setup(model, optimizer=optimizer(model.parameters()))
        assert _reading(setup, _batches(2)).damping == {}


class Waits(TorchFunctionMode):
    """Counts what makes the program wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        waits = (Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__)
        self.count += func in (*waits, Tensor.__float__, Tensor.__int__)
        return func(*args, **(kwargs or {}))


def test_a_sample_waits_for_the_device_once() -> None:
    setup = _setup(_seeded(_modules), limits=Limits(gradient_norm=0.1))
    list(train_steps(setup, _batches(1)))  # Adam's state is there from now on
    with Waits() as waits:
        for record in train_steps(setup, _batches(4)):
            assert record.sample is not None
            before = waits.count
            record.sample.read()
            assert waits.count == before + 1
    assert waits.count == 4 + _of_adam(setup)


def _of_adam(setup: TrainSetup) -> int:
    """What four steps of the optimizer wait by themselves: its counters are on the CPU."""
    with Waits() as waits:
        list(train_steps(_without_monitors(setup), _batches(4)))
    return waits.count


def _without_monitors(setup: TrainSetup) -> TrainSetup:
    return _setup(setup.model, optimizer=setup.optimizer, monitor_every=None, limits=setup.limits)
