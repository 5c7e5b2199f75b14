"""The training loop against the same training written out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.batch import Batch
from nnrecipe.losses import CrossEntropy
from nnrecipe.regularization import Mixing, Regularization
from nnrecipe.training.setup import Limits, TrainSetup
from nnrecipe.training.steps import train_steps


class Falling:
    """The rate over 1, 2, 3, ..."""

    def __call__(self, step: int) -> float:
        return 1 / (1 + step)


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
        schedule=Falling(),
        limits=Limits(gradient_norm=0.5),
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
        assert record.correct is not None
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
    reading = record.sample.read()
    ratios, norms = reading.update_ratio, reading.gradient_norm
    assert reading.batch_loss == record.loss.item()
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
    steps = train_steps(_setup(model, optimizer=optimizer, schedule=Falling()), _batches(3))
    for step, _ in enumerate(steps):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.1 / (1 + step), 0.01 / (1 + step)], rel=1e-12)


def test_frozen_weights_are_not_sampled() -> None:
    model = _model()
    model[0].weight.requires_grad_(False)
    (record,) = train_steps(_setup(model, monitor_every=1), _batches(1))
    assert record.sample is not None
    assert set(record.sample.read().update_ratio) == {"3.weight"}


def test_bf16_computes_the_forward_pass_in_bf16() -> None:
    seen: list[torch.dtype] = []
    model = _model()
    model[0].register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    (record,) = train_steps(_setup(model, precision="bf16"), _batches(1))
    assert seen == [torch.bfloat16]
    assert math.isfinite(record.loss.item())
    assert model[0].weight.dtype == torch.float32


def test_fp16_keeps_gradients_that_it_could_not_hold_by_itself() -> None:
    """Gradients below its smallest number train all the same, scaled up."""

    class Faint(nn.Module):
        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return 1e-7 * nn.functional.cross_entropy(outputs, targets)

    def moved(precision: str) -> torch.Tensor:
        model = _plain()
        before = model[2].weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e6)
        setup = _setup(model, loss=Faint(), optimizer=optimizer, precision=precision)
        for _ in train_steps(setup, _batches(3)):
            pass
        return model[2].weight.detach() - before

    exact, half = moved("fp32"), moved("fp16")
    assert half.norm() > 0
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


def test_a_compiled_forward_is_taken_for_all_steps_but_those_that_are_watched() -> None:
    model, calls = _model(), list[int]()

    def fast(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs))
        outputs: torch.Tensor = model(inputs)
        return outputs

    for _ in train_steps(_setup(model, forward=fast, monitor_every=2), _batches(4)):
        pass
    assert len(calls) == 2


def _plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def _equal(one: nn.Module, other: nn.Module, *, atol: float = 1e-6) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize(("accumulate", "sizes"), [(2, [2, 2, 1]), (3, [3, 2]), ("epoch", [5])])
def test_accumulated_batches_make_the_step_of_one_large_batch(
    accumulate: Any, sizes: list[int]
) -> None:
    inputs, targets = _batches(5)[4]
    batches = [*_batches(4), Batch(inputs[:3], targets[:3])]
    ours, theirs = _plain(), _plain()
    penalty = Regularization(l2=0.1).penalty()
    small = _setup(ours, penalty=penalty, accumulate=accumulate)
    records = list(train_steps(small, batches))
    large, start = [], 0
    for size in sizes:
        parts = zip(*batches[start : start + size], strict=True)
        large.append(Batch(*(torch.cat(part) for part in parts)))
        start += size
    expected = list(train_steps(_setup(theirs, penalty=penalty), large))
    _equal(ours, theirs)
    for mine, other in zip(records, expected, strict=True):
        assert mine.examples == other.examples
        assert mine.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)
        assert mine.correct is not None
        assert other.correct is not None
        assert mine.correct.item() == other.correct.item()


def test_values_beyond_the_limit_are_cut_off() -> None:
    ours, theirs = _plain(), _plain()
    setup = _setup(ours, limits=Limits(gradient_value=0.01))
    list(train_steps(setup, _batches(4)))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for inputs, targets in _batches(4):
        optimizer.zero_grad()
        F.cross_entropy(theirs(inputs), targets).backward()
        for parameter in theirs.parameters():
            assert parameter.grad is not None
            parameter.grad.clamp_(-0.01, 0.01)
        optimizer.step()
    _equal(ours, theirs)


def test_the_norms_of_the_weights_stay_within_their_limit() -> None:
    model = _plain()
    for _ in train_steps(_setup(model, limits=Limits(weight_norm=0.3)), _batches(5)):
        for layer in (model[0], model[2]):
            assert (layer.weight.norm(dim=1) <= 0.3 + 1e-6).all()


def test_lbfgs_takes_the_steps_of_torchs_own() -> None:
    ours, theirs = _plain(), _plain()
    (batch,) = _batches(1)

    def lbfgs(model: nn.Module) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(model.parameters(), lr=1.0, line_search_fn="strong_wolfe")

    setup = _setup(ours, optimizer=lbfgs(ours), reevaluates=True)
    losses = [record.loss.item() for record in train_steps(setup, [batch] * 3)]
    optimizer = lbfgs(theirs)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(theirs(batch.inputs), batch.targets)
        loss.backward()
        return loss.detach()

    expected = [float(optimizer.step(closure)) for _ in range(3)]
    assert losses == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < 0.1 * losses[0]
    _equal(ours, theirs, atol=1e-5)


def test_mixed_examples_are_trained_on_both_their_targets() -> None:
    ours, theirs = _plain(), _plain()
    mixing = Mixing(mixup=1.0)
    torch.manual_seed(7)
    (record,) = train_steps(_setup(ours, mixing=mixing), _batches(1))
    torch.manual_seed(7)
    mixed = mixing(*_batches(1)[0])
    soft = mixed.share * F.one_hot(mixed.targets, 3) + (1 - mixed.share) * F.one_hot(
        mixed.partners, 3
    )
    logits = theirs(mixed.inputs)
    loss = F.cross_entropy(logits, soft)
    assert 0 < mixed.share < 1
    assert record.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    right = soft.gather(1, logits.argmax(1, keepdim=True)).sum()
    assert record.correct is not None
    assert record.correct.item() == pytest.approx(right.item(), rel=1e-5)


def test_a_regression_counts_no_right_examples() -> None:
    model = nn.Linear(6, 2)
    batch = Batch(torch.randn(8, 6), torch.randn(8, 2))
    setup = _setup(model, loss=F.mse_loss, task="regression")
    (record,) = train_steps(setup, [batch])
    assert record.correct is None


def test_accumulated_batches_are_weighed_by_their_class_weights() -> None:
    ours, theirs = _plain(), _plain()
    spec = CrossEntropy(class_weights=(1.0, 5.0, 20.0))
    batches = _batches(3)
    whole = Batch(*(torch.cat(part) for part in zip(*batches, strict=True)))
    outputs = OutputSpec(3)
    small = _setup(ours, loss=spec.build(outputs), accumulate="epoch")
    large = _setup(theirs, loss=spec.build(outputs))
    (mine,), (other,) = list(train_steps(small, batches)), list(train_steps(large, [whole]))
    assert mine.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)
    _equal(ours, theirs)
