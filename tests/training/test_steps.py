"""The training loop against the same training written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.data.batch import Batch
from nnrecipe.regularization import Regularization
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import train_steps


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def _batches(count: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(torch.randn(8, 6, generator=draw), torch.randint(3, (8,), generator=draw))
        for _ in range(count)
    ]


def _setup(model: nn.Module, **changes: object) -> TrainSetup:
    settings = {
        "model": model,
        "loss": F.cross_entropy,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "penalty": Regularization().penalty(),
        "device": torch.device("cpu"),
    }
    return TrainSetup(**(settings | changes))  # type: ignore[arg-type]


def test_equals_a_loop_written_by_hand() -> None:
    ours, theirs = _model(), _model()
    setup = _setup(
        ours,
        penalty=Regularization(l1=0.01, l2=0.02).penalty(),
        schedule=lambda step: 1 / (1 + step),
        clip_norm=0.5,
        monitor_every=3,
    )
    records = list(train_steps(setup, _batches(10)))

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for step, (inputs, targets) in enumerate(_batches(10)):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        logits = theirs(inputs)
        loss = F.cross_entropy(logits, targets)
        weights = [theirs[0].weight, theirs[3].weight]
        penalty = sum(
            (0.02 * (w * w).sum() + 0.01 * w.abs().sum() for w in weights), torch.zeros(())
        )
        optimizer.zero_grad()
        (loss + penalty).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        record = records[step]
        assert record.step == step
        assert record.loss.item() == pytest.approx(loss.item(), abs=1e-6)
        assert record.penalty is not None
        assert record.penalty.item() == pytest.approx(penalty.item(), rel=1e-5)
        assert record.correct.item() == (logits.argmax(1) == targets).sum()
        assert record.rate_factor == 1 / (1 + step)
        assert (record.sample is not None) == (step % 3 == 0)
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_monitors_do_not_change_the_training() -> None:
    watched, alone = _model(), _model()
    list(train_steps(_setup(watched, monitor_every=1), _batches(5)))
    list(train_steps(_setup(alone), _batches(5)))
    for mine, other in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


def test_a_sample_measures_the_step() -> None:
    model = _model()
    before = {path: p.detach().clone() for path, p in model.named_parameters()}
    (record,) = train_steps(_setup(model, monitor_every=1), _batches(1))
    assert record.sample is not None
    ratios, norms = record.sample.by_path()
    assert set(ratios) == set(norms) == {"0.weight", "3.weight"}
    for path, parameter in model.named_parameters():
        if path in ratios:
            change = (parameter.detach() - before[path]).norm() / before[path].norm()
            assert ratios[path] == pytest.approx(change.item(), rel=1e-4)
            assert parameter.grad is not None
            assert norms[path] == pytest.approx(parameter.grad.norm().item(), rel=1e-4)


def test_each_group_keeps_its_own_rate_under_a_schedule() -> None:
    model = _model()
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.1},
        {"params": list(model[3].parameters()), "lr": 0.01},
    ]
    optimizer = torch.optim.SGD(groups)
    steps = train_steps(
        _setup(model, optimizer=optimizer, schedule=lambda step: 0.5**step), _batches(3)
    )
    for step, _ in enumerate(steps):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [0.1 * 0.5**step, 0.01 * 0.5**step]


def test_frozen_weights_are_not_sampled() -> None:
    model = _model()
    model[0].weight.requires_grad_(False)
    (record,) = train_steps(_setup(model, monitor_every=1), _batches(1))
    assert record.sample is not None
    assert record.sample.paths == ("3.weight",)


def test_bf16_computes_the_forward_pass_in_bf16() -> None:
    seen: list[torch.dtype] = []
    model = _model()
    model[0].register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    (record,) = train_steps(_setup(model, precision="bf16"), _batches(1))
    assert seen == [torch.bfloat16]
    assert math.isfinite(record.loss.item())
    assert model[0].weight.dtype == torch.float32
