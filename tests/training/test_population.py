"""Populations against the same trainings done one by one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.batch import Batch
from nnrecipe.losses import CrossEntropy
from nnrecipe.regularization import Mixing, Penalty
from nnrecipe.schedulers import Cosine
from nnrecipe.training.population import Plan, PopulationRecord, train_population
from nnrecipe.training.setup import Limits, TrainSetup
from nnrecipe.training.steps import train_steps

STACKED = Plan("vectorized", chunk=3)
CPU = torch.device("cpu")
RATES = (0.1, 0.03, 0.01, 0.003)


def perceptron(seed: int, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    return nn.Sequential(*layers).to(dtype)


def setup_of(model: nn.Module, *, lr: float = 0.1, **changes: Any) -> TrainSetup:
    fields = {
        "model": model,
        "loss": F.cross_entropy,
        "optimizer": torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
        "penalty": Penalty(),
        "device": CPU,
    }
    return TrainSetup(**(fields | changes))


def population(**changes: Any) -> list[TrainSetup]:
    return [setup_of(perceptron(i), lr=lr, **changes) for i, lr in enumerate(RATES)]


def batches(count: int, *, dtype: torch.dtype = torch.float64, seed: int = 1) -> list[Batch]:
    draw = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(8, 6, generator=draw, dtype=dtype), torch.randint(3, (8,), generator=draw)
        )
        for _ in range(count)
    ]


def train(
    setups: Sequence[TrainSetup], given: Any, **settings: Any
) -> tuple[Tensor, list[PopulationRecord]]:
    """The losses [steps, K], and all records."""
    records = list(train_population(setups, given, **({"engine": STACKED} | settings)))
    return torch.stack([record.losses for record in records]), records


def one_by_one(setups: Sequence[TrainSetup], given: Sequence[Batch]) -> Tensor:
    """The losses [steps, K] of plain trainings."""
    return torch.stack(
        [torch.stack([step.loss for step in train_steps(setup, given)]) for setup in setups], dim=1
    )


def assert_same(ours: Sequence[TrainSetup], theirs: Sequence[TrainSetup], atol: float) -> None:
    """The same weights, buffers and optimizer state."""
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            mine.model.state_dict(), other.model.state_dict(), rtol=0, atol=atol
        )
        states = mine.optimizer.state_dict(), other.optimizer.state_dict()
        torch.testing.assert_close(states[0]["state"], states[1]["state"], rtol=0, atol=atol)
        for group, wanted in zip(*(state["param_groups"] for state in states), strict=True):
            assert group == wanted


@pytest.mark.parametrize("threads", [1, 2])
def test_equals_trainings_done_alone(threads: int) -> None:
    ours = population()
    theirs = copy.deepcopy(ours)
    losses, records = train(ours, batches(100), engine=Plan("vectorized", 3, threads))
    torch.testing.assert_close(losses, one_by_one(theirs, batches(100)), rtol=0, atol=1e-9)
    assert_same(ours, theirs, 1e-9)
    assert all(record.alive.all() and not record.refused for record in records)
    assert [record.step for record in records] == list(range(100))
    assert {record.examples for record in records} == {8}


def test_counts_who_is_right() -> None:
    ours = population()
    theirs = copy.deepcopy(ours)
    _, records = train(ours, batches(5))
    for index, setup in enumerate(theirs):
        for step, wanted in enumerate(train_steps(setup, batches(5))):
            found = records[step].correct
            assert found is not None
            assert wanted.correct is not None
            assert found[index] == wanted.correct


def mixed_settings() -> list[TrainSetup]:
    """Replicas that differ in whatever can differ."""
    outputs = OutputSpec(3, (10, 10, 10), examples=30)
    setups = []
    for i, lr in enumerate(RATES):
        loss = CrossEntropy(label_smoothing=0.1 * i, class_weights=(1.0, 2.0, 0.5)).build(outputs)
        model = perceptron(i)
        groups = [
            {"params": [model[0].weight, model[3].weight], "weight_decay": 0.01 * i},
            {"params": [model[0].bias, *model[1].parameters(), model[3].bias], "lr": lr / 2},
        ]
        setups.append(
            setup_of(
                model,
                loss=loss,
                optimizer=torch.optim.SGD(groups, lr=lr, momentum=0.3 * i, dampening=0.1),
                penalty=Penalty(l1=1e-3 * i, l2=1e-2 * (3 - i)),
                schedule=Cosine(warmup=2 * i).build(60, steps_per_epoch=10),
                limits=Limits(
                    gradient_norm=(0.3, None, 0.5, 1.0)[i],
                    gradient_value=(None, 0.05, 0.1, None)[i],
                    weight_norm=(None, 0.7, 1.5, 0.5)[i],
                ),
            )
        )
    return setups


def test_each_has_settings_of_its_own() -> None:
    ours, theirs = mixed_settings(), mixed_settings()
    losses, records = train(ours, batches(60), engine=Plan("vectorized", 4))
    assert not records[0].refused
    torch.testing.assert_close(losses, one_by_one(theirs, batches(60)), rtol=0, atol=1e-9)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            mine.model.state_dict(), other.model.state_dict(), rtol=0, atol=1e-9
        )


def test_each_has_batches_of_its_own() -> None:
    ours = population()
    theirs = copy.deepcopy(ours)
    own = [batches(20, seed=i) for i in range(len(ours))]
    losses, records = train(ours, zip(*own, strict=True))
    assert not records[0].refused
    for index, setup in enumerate(theirs):
        wanted = one_by_one([setup], own[index])[:, 0]
        torch.testing.assert_close(losses[:, index], wanted, rtol=0, atol=1e-9)
    assert_same(ours, theirs, 1e-9)


def test_goes_on_from_where_it_stopped() -> None:
    ours = population(schedule=Cosine().build(30, steps_per_epoch=10))
    theirs = copy.deepcopy(ours)
    train(ours, batches(30)[:12])
    train(ours, batches(30)[12:], first_step=12)
    one_by_one(theirs, batches(30))
    assert_same(ours, theirs, 1e-9)


def test_what_is_frozen_stays() -> None:
    ours = population()
    for setup in ours:
        setup.model[0].requires_grad_(False)  # type: ignore[index]
    theirs = copy.deepcopy(ours)
    losses, _ = train(ours, batches(20))
    torch.testing.assert_close(losses, one_by_one(theirs, batches(20)), rtol=0, atol=1e-9)
    assert_same(ours, theirs, 1e-9)


def test_writes_back_when_the_loop_is_left() -> None:
    ours = population()
    theirs = copy.deepcopy(ours)
    for record in train_population(ours, batches(20), engine=STACKED):
        if record.step == 4:
            break
    one_by_one(theirs, batches(20)[:5])
    assert_same(ours, theirs, 1e-9)


def test_one_that_explodes_hurts_no_other_and_is_taken_out() -> None:
    ours = population()
    ours[1] = setup_of(perceptron(1), lr=1e200)
    theirs = copy.deepcopy(ours)
    losses, records = train(ours, batches(40), engine=Plan("vectorized", 4))
    wanted = one_by_one(theirs, batches(40))
    others = [0, 2, 3]
    torch.testing.assert_close(losses[:, others], wanted[:, others], rtol=0, atol=1e-9)
    assert_same([ours[i] for i in others], [theirs[i] for i in others], 1e-9)
    died = int((~torch.isfinite(wanted[:, 1])).nonzero()[0])
    assert [bool(record.alive[1]) for record in records] == [step < died for step in range(40)]
    assert all(record.alive[others].all() for record in records)
    assert losses[16:, 1].isnan().all()


def test_ends_when_none_is_left() -> None:
    _, records = train(population(), batches(100), give_up=lambda losses: losses > 0)
    assert len(records) == 16
    assert not records[0].alive.any()


def test_gives_up_whom_it_is_told_to() -> None:
    def give_up(losses: Tensor) -> Tensor:
        return torch.arange(len(losses)) == 2

    ours = population()
    theirs = copy.deepcopy(ours)
    losses, records = train(ours, batches(40), give_up=give_up)
    one_by_one(theirs[:2], batches(40))
    assert_same(ours[:2], theirs[:2], 1e-9)
    one_by_one(theirs[2:3], batches(16))
    assert_same(ours[2:3], theirs[2:3], 1e-9)
    assert losses[16:, 2].isnan().all()
    assert records[-1].alive.tolist() == [True, True, False, True]


def test_auto_tries_all_and_stays_exact() -> None:
    ours = population()
    theirs = copy.deepcopy(ours)
    losses, records = train(ours, batches(60), engine="auto")
    torch.testing.assert_close(losses, one_by_one(theirs, batches(60)), rtol=0, atol=1e-9)
    assert_same(ours, theirs, 1e-9)
    tried = {record.plan for record in records}
    assert {plan.engine for plan in tried} == {"vectorized", "sequential"}
    assert len({record.plan for record in records[40:]}) == 1


def test_a_replica_alone_is_not_stacked() -> None:
    _, records = train(population()[:1], batches(3), engine="auto")
    assert records[0].plan == Plan("sequential", threads=records[0].plan.threads)


class Halving(nn.Linear):
    """What vmap can't take: the way depends on the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y / 2 if y.sum() > 0 else y


class Noted(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.seen = torch.zeros(2)


def _hooked(seed: int) -> nn.Module:
    model = perceptron(seed)
    model[0].register_forward_hook(lambda *_: None)  # type: ignore[index]
    return model


def _with(layer: type[nn.Linear]) -> nn.Module:
    return nn.Sequential(layer(6, 3)).double()


REFUSED: dict[str, tuple[Any, str]] = {
    "lbfgs": (
        lambda m: setup_of(m, optimizer=torch.optim.LBFGS(m.parameters()), reevaluates=True),
        "lbfgs evaluates its loss several times",
    ),
    "rprop": (
        lambda m: setup_of(m, optimizer=torch.optim.Rprop(m.parameters())),
        "rprop has no stacked form",
    ),
    "maximize": (
        lambda m: setup_of(m, optimizer=torch.optim.SGD(m.parameters(), maximize=True)),
        "maximizes",
    ),
    "mixing": (lambda m: setup_of(m, mixing=Mixing(mixup=0.2)), "mixup"),
    "accumulate": (lambda m: setup_of(m, accumulate=2), "accumulate several batches"),
    "hooks": (lambda _: setup_of(_hooked(0)), "Linear 0 has hooks"),
    "vmap": (lambda _: setup_of(_with(Halving)), "under torch.vmap: "),
    "own tensor": (lambda _: setup_of(_with(Noted)), "Noted 0 holds a tensor"),
}


def _seeded(make: Any, seed: int) -> TrainSetup:
    model = perceptron(seed)
    setup: TrainSetup = make(model)
    return setup


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_it_can_not_stack_is_trained_alone_and_said(make: Any, reason: str) -> None:
    ours, theirs = ([_seeded(make, seed) for seed in (0, 1)] for _ in range(2))
    losses, records = train(ours, batches(4))
    assert all(reason in records[0].refused[index] for index in (0, 1))
    if reason != "mixup":  # which draws at random
        torch.testing.assert_close(losses, one_by_one(theirs, batches(4)), rtol=0, atol=1e-12)
        assert_same(ours, theirs, 1e-12)


def test_replicas_that_differ_form_stacks_of_their_own() -> None:
    wide = [nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 3)).double() for _ in range(2)]
    ours = [*population(), *(setup_of(model) for model in wide), setup_of(_with(nn.Linear))]
    theirs = copy.deepcopy(ours)
    losses, records = train(ours, batches(10))
    assert list(records[0].refused) == [6]
    assert "no other replica" in records[0].refused[6]
    torch.testing.assert_close(losses, one_by_one(theirs, batches(10)), rtol=0, atol=1e-9)
    assert_same(ours, theirs, 1e-9)


def dropping(p: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 512), nn.Dropout(p), nn.Linear(512, 3)).double()


def test_dropout_draws_for_each_replica() -> None:
    losses, records = train([setup_of(dropping(0.5)) for _ in range(3)], batches(3))
    assert not records[0].refused
    assert len(set(losses[0].tolist())) == 3


class Share(nn.Module):
    """One weight times the share of units that are left, times what they were scaled to."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        left = self.drop(torch.ones(len(x), 4000, dtype=torch.float64))
        return (
            torch.stack([(left > 0).double().mean(1), left.mean(1), left.amax(1)], 1)
            * (self.weight[0])
        )


def test_dropout_has_each_replicas_rate() -> None:
    rates = (0.0, 0.2, 0.9, 1.0)
    seen: dict[str, Tensor] = {}

    def first_output(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs[:, 0].mean()

    def mean_output(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs[:, 1].mean()

    for loss in (first_output, mean_output):
        setups = [setup_of(Share(p), loss=loss) for p in rates]
        losses, records = train(setups, batches(1), engine=Plan("vectorized", 4))
        assert not records[0].refused
        seen[loss.__name__] = losses[0]
        assert all(setup.model.weight.isfinite().all() for setup in setups)
    wanted = torch.tensor([1 - p for p in rates], dtype=torch.float64)
    torch.testing.assert_close(seen["first_output"], wanted, rtol=0, atol=0.02)
    wanted = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(seen["mean_output"], wanted, rtol=0, atol=0.1)
