"""Every part of the library in a population: exactly as alone, or refused with the reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from nnrecipe.core.parameters import group, standard_rules
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.batch import Batch
from nnrecipe.layers import Norm
from nnrecipe.optimizers import OptimizerSpec
from nnrecipe.recipe import Recipe
from nnrecipe.regularization import Penalty
from nnrecipe.training.population import Plan, train_population
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.steps import train_steps

CPU = torch.device("cpu")
OUTPUTS = OutputSpec(4, (25,) * 4, examples=100)
STEPS = 100
TOLERANCE = {torch.float64: (STEPS, 1e-9), torch.float32: (20, 1e-5)}
"""How many steps have to agree, and how closely."""

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "widths": [12, 8]},
    "lenet5": {"kind": "lenet5", "width": 0.5},
    "vgg": {"kind": "vgg", "depth": 11, "width": 0.05},
    "resnet": {"kind": "resnet", "depth": 8, "width": 0.25},
    "vit": {"kind": "vit", "patch": 8, "dim": 8, "depth": 1, "heads": 2},
}
PIXELS = {"mlp": 6, "lenet5": 12, "resnet": 8}
# The default groups of an MLP this small hold two numbers each, which become +1 and -1: a network
# of steps, in which rounding grows a billionfold. A perturbation of one run does it just as well.
NORM_SETTINGS = {("mlp", "group"): {"groups": 2}}
NORMS = [kind_of(member) for member in members(Norm)]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.5, "dampening": 0.5},
    ],
    "adam": [{}, {"amsgrad": True}],
    "adamw": [{}, {"amsgrad": True}],
    "rmsprop": [{}, {"momentum": 0.5, "centered": True}],
    "adagrad": [{"lr_decay": 0.1}],
}
"""Variants; of a kind that isn't here, the defaults."""

ALONE = {"lbfgs": "evaluates its loss", "muon": "no stacked form", "nadam": "no stacked form"}
OPTIMIZERS = [
    {"kind": kind} | variant
    for kind in map(kind_of, members(OptimizerSpec))
    if kind != "custom"
    for variant in SETTINGS.get(kind, [{}])
]


def setups_of(
    architecture: str,
    *,
    norm: str = "none",
    optimizer: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float64,
    rates: tuple[float, ...] = (3e-3, 1e-3, 3e-4),
) -> list[TrainSetup]:
    """Replicas of different seeds, rates, decays and penalties."""
    side = PIXELS.get(architecture, 32)
    found = []
    for index, lr in enumerate(rates):
        given = {
            "data": {"kind": "cifar10"},
            "architecture": ARCHITECTURES[architecture],
            "norm": {"kind": norm} | NORM_SETTINGS.get((architecture, norm), {}),
            "optimizer": optimizer or {"kind": "sgd", "momentum": 0.9},
        }
        recipe = Recipe.model_validate(given)
        with isolated_rng(index, "model"):
            model = recipe.architecture.build((3, side, side), OUTPUTS, hidden=recipe.hidden)
            model = model.to(dtype)
        decay = 0.0 if recipe.optimizer.kind == "lbfgs" else 0.02 * index
        groups = group(model, standard_rules(model), lr=lr, weight_decay=decay)
        found.append(
            TrainSetup(
                model=model,
                loss=recipe.loss.build(OUTPUTS),
                optimizer=recipe.optimizer.build(groups, lr=lr),
                penalty=Penalty(l1=1e-5 * index, l2=1e-4),
                device=CPU,
                reevaluates=recipe.optimizer.calls_objective,
            )
        )
    return found


def batches_for(architecture: str, *, count: int, dtype: torch.dtype) -> list[Batch]:
    side = PIXELS.get(architecture, 32)
    draw = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(4, 3, side, side, generator=draw, dtype=torch.float64).to(dtype),
            torch.randint(4, (4,), generator=draw),
        )
        for _ in range(count)
    ]


def compare(architecture: str, *, dtype: torch.dtype, **settings: Any) -> dict[int, str]:
    """Train a population and its members alone; returns who was refused."""
    steps, tolerance = TOLERANCE[dtype]
    given = batches_for(architecture, count=steps, dtype=dtype)
    ours, theirs = (setups_of(architecture, dtype=dtype, **settings) for _ in range(2))
    records = list(train_population(ours, given, engine=Plan("vectorized", 3)))
    losses = torch.stack([record.losses for record in records])
    for index, setup in enumerate(theirs):
        wanted = torch.stack([record.loss for record in train_steps(setup, given)])
        _assert_close(losses[:, index], wanted, tolerance)
        mine, other = ours[index].model.state_dict(), setup.model.state_dict()
        for path, value in other.items():
            _assert_close(mine[path], value, tolerance)
    return dict(records[0].refused)


def _assert_close(mine: Tensor, other: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ["mlp", "lenet5"])
def test_norm(architecture: str, norm: str, dtype: torch.dtype) -> None:
    if (architecture, norm) == ("mlp", "instance"):
        pytest.skip("an mlp takes no instance norm")
    assert not compare(architecture, norm=norm, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ["vgg", "resnet"])
def test_norm_of_a_deep_network(architecture: str, norm: str, dtype: torch.dtype) -> None:
    if (architecture, norm, dtype) == ("vgg", "instance", torch.float32):
        pytest.skip("norms of four pixels and fewer amplify rounding; float64 has it exactly")
    assert not compare(architecture, norm=norm, dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_optimizer(optimizer: dict[str, Any], dtype: torch.dtype) -> None:
    refused = compare("mlp", optimizer=optimizer, dtype=dtype)
    if (reason := ALONE.get(optimizer["kind"])) is None:
        assert not refused
    else:
        assert [reason in said for said in refused.values()] == [True] * 3


def test_what_an_optimizer_remembers_is_written_back() -> None:
    for optimizer in OPTIMIZERS:
        ours, theirs = (setups_of("mlp", optimizer=optimizer) for _ in range(2))
        given = batches_for("mlp", count=6, dtype=torch.float64)
        for part in (given[:3], given[3:]):
            list(train_population(ours, part, engine=Plan("vectorized", 2)))
        for mine, other in zip(ours, theirs, strict=True):
            list(train_steps(other, given))
            states = [copy.deepcopy(s.optimizer.state_dict()["state"]) for s in (mine, other)]
            assert states[0].keys() == states[1].keys(), optimizer
            for key, state in states[1].items():
                kept = {name: value for name, value in state.items() if value is not None}
                torch.testing.assert_close(states[0][key], kept, rtol=1e-9, atol=1e-9)
