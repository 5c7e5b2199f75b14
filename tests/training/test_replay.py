"""Where a training that isn't finite any more first went wrong, found by repeating its epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.progress import Silence
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.augmentation import Augmentation, Noise
from nnrecipe.training import TrainingSpec
from nnrecipe.training.averaging import NoAveraging
from nnrecipe.training.fit import EpochRecord, fit
from nnrecipe.training.origin import Origin, Place
from nnrecipe.training.replay import Snapshot
from nnrecipe.training.setup import TrainSetup

STEPS = 7
"""Optimizer steps in an epoch of 200 examples."""


class Rooted(nn.Module):
    """Passes its input on, and adds the root of a zero from a given forward pass on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.first = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        zero = x.square().sum(1, keepdim=True) * (0.0 if self.calls > self.first else 1.0)
        return x + 0.01 * zero.sqrt()


def _rooted(first: int) -> nn.Module:
    root = Rooted()
    root.first = first
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), root, nn.Linear(16, 4))


def _noisy() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(16, 4),
    )


def _fit(
    *, rate: float = 0.05, adam: bool = False, epochs: int = 4, every: int = 5, **changes: Any
) -> tuple[list[EpochRecord], TrainSetup]:
    bench = make_bench(**changes)
    setup = bench.setup(bench.make_model(), lr=rate, monitor_every=every)
    if adam:
        object.__setattr__(setup, "optimizer", torch.optim.Adam(setup.model.parameters(), lr=rate))
    training = TrainingSpec(epochs=epochs, batch_size=32)
    average = NoAveraging().build(setup.model, epochs=epochs)
    return list(
        fit(setup, bench.data, training, average=average, seed=0, progress=Silence())
    ), setup


def _origin(**changes: Any) -> Origin:
    records, _ = _fit(**changes)
    origin = records[-1].origin
    assert origin is not None
    assert records[-1].diverged_at is not None
    assert origin.step in (records[-1].diverged_at, records[-1].diverged_at - 1)
    return origin


@pytest.mark.parametrize("first", [0, 4, STEPS - 1, STEPS, 2 * STEPS + 3])
def test_a_gradient_that_is_undefined(first: int) -> None:
    origin = _origin(model=lambda: _rooted(first))
    assert (origin.step, origin.place, origin.layer) == (first, Place.GRADIENT, "3")
    assert origin.operation == "Sqrt"
    assert origin.code.endswith("zero.sqrt()")
    assert "test_replay.py" in origin.code
    assert origin.largest < 1e3


@pytest.mark.parametrize("place", [Place.INPUTS, Place.TARGETS])
def test_a_batch_that_is_not_finite(place: Place) -> None:
    inputs, labels = blobs(200, seed=1)
    targets = F.one_hot(labels, 4).float()
    (inputs if place is Place.INPUTS else targets)[77] = torch.nan
    outputs = OutputSpec(4, task="regression", examples=200, target_mean=(0.0,) * 4)
    origin = _origin(
        train=(inputs, targets), val=(inputs, targets), loss=F.mse_loss, data={"outputs": outputs}
    )
    assert origin.place is place


def _linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Linear(16, 4))


@pytest.mark.parametrize("adam", [False, True])
def test_a_rate_that_is_far_too_high_overflows(adam: bool) -> None:
    origin = _origin(model=_linear, rate=1e30 if adam else 1e9, adam=adam)
    assert origin.largest > 1e6
    assert 0 < origin.step < STEPS


def test_a_layer_that_overflows_at_once() -> None:
    def exploding() -> nn.Module:
        model = nn.Sequential(nn.Flatten(), *(nn.Linear(36, 36) for _ in range(6)))
        for layer in list(model)[1:]:
            layer.weight.data.mul_(1e8)
        return model

    origin = _origin(model=exploding)
    assert (origin.step, origin.place) == (0, Place.FORWARD)
    assert origin.layer in ("5", "6")


def test_a_loss_that_is_undefined() -> None:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(torch.log(F.softmax(40 * logits, 1)), targets)

    origin = _origin(loss=loss, rate=0.3)
    assert origin.place is Place.LOSS
    assert origin.largest < 1e4


def test_infinities_that_are_masked_are_no_fault() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, torch.full_like(x[:, :1], -torch.inf)], 1)

    def model() -> nn.Module:
        return nn.Sequential(_rooted(4), Masked())

    origin = _origin(model=model)
    assert (origin.step, origin.place, origin.layer) == (4, Place.GRADIENT, "0.3")


def test_an_epoch_is_repeated_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, labels = blobs(200, seed=1)
    noise = Augmentation((Noise(std=0.1),), white=1.0)
    seen: dict[str, list[Tensor]] = {"trained": [], "repeated": []}
    phase = "trained"

    class Recorded(nn.Module):
        """Fails from the 18th training step on; remembers every step's inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = _noisy()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            if self.training:
                self.calls += 1
                weights = [p.detach().flatten().clone() for p in self.parameters()]
                seen[phase].append(torch.cat([x.flatten(), out.detach().flatten(), *weights]))
            return out * (torch.inf if self.calls > 17 else 1.0)

    restore = Snapshot.restore

    def restored(self: Snapshot) -> None:
        nonlocal phase
        phase = "repeated"
        restore(self)

    monkeypatch.setattr(Snapshot, "restore", restored)
    records, _ = _fit(
        model=Recorded, train=(inputs, labels), data={"augmentation": noise}, adam=True
    )
    assert records[-1].origin is not None
    assert records[-1].origin.step == 17
    repeated = seen["repeated"]
    assert len(repeated) == 18 - 2 * STEPS
    for ours, first in zip(repeated, seen["trained"][2 * STEPS :], strict=False):
        assert torch.equal(ours, first)


def test_looking_for_the_origin_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for _ in range(2):
        _, setup = _fit(model=lambda: _rooted(9), adam=True)
        ends.append([*setup.model.state_dict().values()])
        assert not any(module._forward_hooks for module in setup.model.modules())
        assert not torch.is_anomaly_enabled()
        monkeypatch.setattr("nnrecipe.training.fit._origin", lambda *_, **__: None)
    for ours, other in zip(*ends, strict=True):
        assert torch.equal(ours.nan_to_num(), other.nan_to_num())


def test_what_cannot_be_repeated_is_no_crash() -> None:
    class Moody(nn.Module):
        """Its state is in no snapshot, and it fails for good once it has failed."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = perceptron(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            if self.calls > 11:
                raise ZeroDivisionError
            out: Tensor = self.inner(x) * (torch.nan if self.calls == 11 else 1.0)
            return out

    records, _ = _fit(model=Moody, every=1)
    assert records[-1].diverged_at == 10
    assert records[-1].origin is None


def test_weights_that_break_in_the_last_step_of_an_epoch_are_found_there() -> None:
    records, _ = _fit(model=lambda: _rooted(STEPS - 1), every=5)
    assert len(records) == 1
    assert records[0].diverged_at == STEPS
    assert records[0].validation is None
