"""Averages of the weights, against torch's and against sums by hand."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import swa_utils

from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.batch import Batch
from nnrecipe.training.averaging import (
    Averaging,
    Ema,
    NoAveraging,
    Swa,
    recompute_statistics,
)

FAMILY: TypeAdapter[NoAveraging | Ema | Swa] = TypeAdapter(Averaging)


class Net(nn.Module):
    """Batch norm, a frozen batch norm, a mask with infinities, a counter, and shared weights."""

    mask: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.frozen = FrozenNorm(4)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, -torch.inf]))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls = self.calls + 1  # another tensor each time
        hidden = self.frozen(self.second(torch.relu(self.norm(self.first(inputs)))))
        return hidden + self.mask


class FrozenNorm(nn.BatchNorm1d):
    """A batch norm that is in eval mode in training too."""

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(False)


def _batches(count: int, *, seed: int = 1) -> list[Batch]:
    draw = torch.Generator().manual_seed(seed)
    return [
        Batch(torch.randn(8, 4, generator=draw) + 3, torch.randint(3, (8,), generator=draw))
        for _ in range(count)
    ]


def _train(model: nn.Module, batches: list[Batch], optimizer: torch.optim.Optimizer) -> None:
    for inputs, targets in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


AVERAGED = ("first.weight", "first.bias", "norm.weight", "norm.running_mean", "norm.running_var")


@pytest.mark.parametrize("warmup", [True, False])
def test_ema_is_the_weighted_sum_of_all_weights(warmup: bool) -> None:
    model, decay = Net(), 0.6
    average = Ema(decay=decay, warmup=warmup).build(model, epochs=1)
    optimizer, expected = _sgd(model), dict[str, Tensor]()
    for t, batch in enumerate(_batches(20)):
        _train(model, [batch], optimizer)
        average.after_step()
        kept = min(decay, (1 + t) / (10 + t)) if warmup else decay
        kept = kept if t else 0.0
        for name in AVERAGED:
            past = expected.get(name, torch.zeros(()))
            expected[name] = kept * past + (1 - kept) * _state(model)[name].double()
    average.after_epoch(1)
    found = average.model.state_dict()
    for name in AVERAGED:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=0, atol=1e-6)
        if name != "first.bias":  # which batch norm takes out again, so it has no gradient
            assert not torch.allclose(found[name], model.state_dict()[name], atol=1e-4)


def test_ema_without_warmup_is_torchs() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    average = Ema(decay=0.9, warmup=False).build(model, epochs=1)
    theirs = swa_utils.AveragedModel(
        model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    optimizer = _sgd(model)
    for batch in _batches(30):
        _train(model, [batch], optimizer)
        average.after_step()
        theirs.update_parameters(model)
    average.after_epoch(1)
    expected = theirs.module.state_dict()
    assert list(average.model.state_dict()) == list(expected)
    for name, value in average.model.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name]), name
        else:  # torch averages the counter of batches, too
            assert torch.equal(value, model.state_dict()[name]), name


def test_swa_is_the_mean_of_the_last_epochs() -> None:
    model = Net()
    average = Swa(start=0.5).build(model, epochs=8)
    theirs = swa_utils.AveragedModel(model)
    optimizer, kept = _sgd(model), list[dict[str, Tensor]]()
    for epoch in range(1, 9):
        for batch in _batches(3, seed=epoch):
            _train(model, [batch], optimizer)
            average.after_step()
        average.after_epoch(epoch)
        if epoch < 4:
            assert average.model is model
            continue
        kept.append(_state(model))
        theirs.update_parameters(model)
        assert average.needs_statistics == (epoch > 4)
        for name, parameter in average.model.named_parameters():
            mean = torch.stack([state[name].double() for state in kept]).mean(0)
            torch.testing.assert_close(parameter.detach().double(), mean, rtol=0, atol=1e-6)
            torch.testing.assert_close(parameter, theirs.module.get_parameter(name))
    assert len(kept) == 5


@pytest.mark.parametrize(
    ("start", "epochs", "first"),
    [(0.75, 10, 8), (0.75, 4, 3), (0.0, 5, 1), (0.55, 20, 11), (0.99, 3, 3), (0.75, 1, 1)],
)
def test_where_swa_starts(start: float, epochs: int, first: int) -> None:
    model = nn.Linear(2, 2)
    average = Swa(start=start).build(model, epochs=epochs)
    started = []
    for epoch in range(1, epochs + 1):
        average.after_epoch(epoch)
        started.append(average.model is not model)
    assert started == [epoch >= first for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("spec", [Ema(), Swa(start=0.0)], ids=lambda spec: spec.kind)
def test_what_is_not_averaged_is_copied(spec: Ema | Swa) -> None:
    model = Net()
    average = spec.build(model, epochs=4)
    optimizer = _sgd(model)
    for epoch in range(1, 5):
        for batch in _batches(3, seed=epoch):
            _train(model, [batch], optimizer)
            average.after_step()
        average.after_epoch(epoch)
    found, trained = average.model.state_dict(), model.state_dict()
    for name in ("mask", "calls", "norm.num_batches_tracked"):
        assert torch.equal(found[name], trained[name])
    assert trained["calls"] == 12
    assert isinstance(average.model, Net)
    assert average.model.second.weight is average.model.first.weight
    Net().load_state_dict(found)
    assert average.model(torch.zeros(2, 4))[:, :3].isfinite().all()


@pytest.mark.parametrize("member", members(Averaging), ids=kind_of)
def test_an_average_leaves_the_training_alone(member: type[NoAveraging | Ema | Swa]) -> None:
    watched, alone = Net(), Net()
    average = member().build(watched, epochs=3)
    optimizers = _sgd(watched), _sgd(alone)
    for epoch in range(1, 4):
        for batch in _batches(3, seed=epoch):
            _train(watched, [batch], optimizers[0])
            _train(alone, [batch], optimizers[1])
            average.after_step()
        average.after_epoch(epoch)
        if average.needs_statistics:
            recompute_statistics(average.model, _batches(3))
    for mine, other in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    assert (average.model is watched) == (member is NoAveraging)


@pytest.mark.parametrize("spec", [NoAveraging(), Ema(), Swa()], ids=lambda spec: spec.kind)
def test_before_there_is_an_average_it_is_the_trained_model(
    spec: NoAveraging | Ema | Swa,
) -> None:
    model = Net()
    average = spec.build(model, epochs=4)
    assert average.model is model
    assert not average.needs_statistics


def test_only_batch_norms_need_statistics() -> None:
    plain = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), FrozenNorm(4))
    average = Swa(start=0.0).build(plain, epochs=3)
    for epoch in range(1, 4):
        average.after_epoch(epoch)
    assert not average.needs_statistics


def test_statistics_are_torchs_and_frozen_ones_stay() -> None:
    ours, theirs = Net(), Net()
    for model in (ours, theirs):
        model.frozen.running_mean = torch.arange(4.0)
        _train(model, _batches(2), _sgd(model))
    frozen = ours.frozen.running_mean
    ours.eval()
    recompute_statistics(ours, _batches(5, seed=3))
    swa_utils.update_bn(_batches(5, seed=3), nn.Sequential(theirs.first, theirs.norm))
    assert not ours.training
    assert not ours.norm.training
    assert ours.norm.momentum == 0.1
    assert torch.equal(ours.frozen.running_mean, frozen)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours.norm, name), getattr(theirs.norm, name))


def test_statistics_are_the_mean_over_the_batches() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    batches = _batches(5)
    recompute_statistics(model, batches)
    means = torch.stack([inputs.mean(0) for inputs, _ in batches])
    variances = torch.stack([inputs.var(0) for inputs, _ in batches])
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm1d)
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))


def test_yaml() -> None:
    assert FAMILY.validate_python("none") == NoAveraging()
    assert FAMILY.validate_python({"kind": "ema", "decay": 0.99}) == Ema(decay=0.99)
    assert FAMILY.validate_python("swa") == Swa(start=0.75)
    assert all(member.source for member in members(Averaging))
    for wrong in ({"kind": "ema", "decay": 1.0}, {"kind": "swa", "start": 1.0}, {"kind": "polyak"}):
        with pytest.raises(ValidationError):
            FAMILY.validate_python(wrong)
