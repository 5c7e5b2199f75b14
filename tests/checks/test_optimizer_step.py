"""Where an optimizer's steps lead: downhill, everywhere, and not for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import make_bench, perceptron
from torch import nn

from nnrecipe.checks import Bench
from nnrecipe.checks.optimizer.decay import WeightDecayCheck
from nnrecipe.checks.optimizer.direction import OptimizerStepCheck
from nnrecipe.checks.optimizer.step_size import StepSizeCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import group, standard_rules
from nnrecipe.core.spec import members
from nnrecipe.optimizers import Adam, AdamW, CustomOptimizer, OptimizerSpec, RmsProp, Sgd
from nnrecipe.regularization import Regularization
from nnrecipe.training.setup import Limits

Groups = list[dict[str, Any]]
Make = Callable[..., torch.optim.Optimizer]


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def bench(
    make: Make, *, lr: float = 0.05, decay: float = 0.0, model: Any = perceptron, **changes: Any
) -> Bench:
    """The bench of `make(groups, lr=lr)`, whose groups carry the decay."""

    def make_optimizer(
        network: nn.Module, *, lr: float, decay: float | bool = decay
    ) -> torch.optim.Optimizer:
        strength = 0.0 if decay is False else settings["decay"]
        groups = group(network, standard_rules(network), lr=lr, weight_decay=strength)
        return make(groups, lr=lr)

    settings = {"decay": decay}
    return make_bench(model=model, make_optimizer=make_optimizer, learning_rate=lr, **changes)


def findings(of: Bench) -> dict[str, Finding]:
    checks = (OptimizerStepCheck(), WeightDecayCheck(), StepSizeCheck())
    return {finding.check: finding for check in checks for finding in check.check(of)}


def causes(of: Bench) -> dict[str, Cause]:
    """The causes that are named, by the check that names them."""
    found = findings(of).values()
    assert all(finding.advice for finding in found if finding.cause)
    return {finding.check: finding.cause for finding in found if finding.cause is not None}


@pytest.mark.parametrize("member", [m for m in members(OptimizerSpec) if m is not CustomOptimizer])
@pytest.mark.parametrize("model", [perceptron, convnet])
def test_the_optimizers_that_yaml_can_name_pass(member: Any, model: Any) -> None:
    spec = member()
    of = bench(
        spec.build, lr=spec.lr, decay=spec.weight_decay, model=model,
        reevaluates=spec.calls_objective,
    )  # fmt: skip
    found = findings(of)
    assert {finding.verdict for finding in found.values()} == {Verdict.PASS}, found
    measured = [f for f in found.values() if "not measured" not in f.measured]
    assert bool(measured) is not spec.calls_objective


@pytest.mark.parametrize(
    ("spec", "decay"),
    [
        (Sgd(momentum=0.95, nesterov=True), 5e-4),
        (AdamW(), 0.05),
        (Adam(), 1e-4),
        (Sgd(momentum=0.9), 1e-2),
    ],
)
def test_usual_settings_pass(spec: Any, decay: float) -> None:
    assert causes(bench(spec.build, decay=decay, limits=Limits(gradient_norm=1.0))) == {}


class Ascent(torch.optim.Optimizer):
    """w <- w + lr * g."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for settings in self.param_groups:
            for parameter in settings["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=settings["lr"])


@pytest.mark.parametrize(
    "make",
    [
        Ascent,
        lambda groups, lr: torch.optim.SGD(groups, lr=lr, maximize=True),
        lambda groups, lr: torch.optim.Adam(groups, lr=lr, maximize=True),
    ],
)
def test_ascent_fails(make: Make) -> None:
    finding = findings(bench(make))["optimizer_step"]
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.SIGN_FLIPPED)


class Growing(torch.optim.SGD):
    """SGD whose decay has the wrong sign, written into the gradient or into the weights."""

    def __init__(self, params: Any, lr: float, strength: float, decoupled: bool) -> None:
        super().__init__(params, lr=lr, momentum=0.9)
        self.strength, self.decoupled = strength, decoupled

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for settings in self.param_groups:
            for parameter in settings["params"]:
                if self.decoupled:
                    parameter.mul_(1 + settings["lr"] * self.strength)
                elif parameter.grad is not None:
                    parameter.grad.sub_(parameter, alpha=self.strength)
        return super().step(closure)


@pytest.mark.parametrize("strength", [1e-4, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_decay_of_the_wrong_sign_fails(strength: float, decoupled: bool) -> None:
    of = bench(lambda groups, lr: Growing(groups, lr, strength, decoupled))
    finding = findings(of)["weight_decay"]
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.REG_SIGN)
    assert causes(of) == {"weight_decay": Cause.REG_SIGN}


def test_declared_decay_that_does_nothing_is_told() -> None:
    of = bench(Ascent, decay=0.01)
    assert causes(of)["weight_decay"] is Cause.REG_INACTIVE


def _without_the_first(groups: Groups, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups[1:], lr=lr)


def _last_layer(groups: Groups, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups[-1]["params"][-1:], lr=lr)


def _still(groups: Groups, lr: float) -> torch.optim.Optimizer:
    groups[0]["lr"] = 0.0
    return torch.optim.SGD(groups, lr=lr)


@pytest.mark.parametrize("make", [_without_the_first, _last_layer, _still])
def test_parameters_that_the_optimizer_leaves_out(make: Make) -> None:
    # with decay, the weights and the biases are in groups of their own
    finding = findings(bench(make, decay=1e-4))["optimizer_step"]
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.ACCIDENTAL_FREEZE)


def test_a_few_parameters_that_are_left_out_only_warn() -> None:
    def weights_alone(groups: Groups, lr: float) -> torch.optim.Optimizer:
        weights = [p for settings in groups for p in settings["params"] if p.ndim > 1]
        return torch.optim.SGD(weights, lr=lr)

    finding = findings(bench(weights_alone))["optimizer_step"]
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.ACCIDENTAL_FREEZE)
    assert "bias" in finding.measured


def test_declared_frozen_parameters_are_no_fault() -> None:
    def model() -> nn.Module:
        made = perceptron()
        made[1].requires_grad_(False)
        return made

    assert causes(bench(Sgd().build, model=model)) == {}


@pytest.mark.parametrize("model", [perceptron, convnet])
@pytest.mark.parametrize(
    ("spec", "decay"), [(Sgd(), 10.0), (Sgd(momentum=0.9), 10.0), (Adam(), 10.0), (AdamW(), 300.0)]
)
def test_decay_that_outweighs_the_data_is_told(spec: Any, decay: float, model: Any) -> None:
    of = bench(spec.build, lr=0.01, decay=decay, model=model)
    finding = findings(of)["weight_decay"]
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.OVER_REGULARIZED), finding


@pytest.mark.parametrize(
    ("given", "too_much"),
    [({"l2": 5.0}, True), ({"l1": 1.0}, True), ({"l2": 1e-3}, False), ({"l1": 1e-4}, False)],
)
def test_penalties_that_outweigh_the_data_are_told(given: dict[str, float], too_much: bool) -> None:
    found = causes(bench(Sgd().build, penalty=Regularization(**given).penalty()))
    assert found == ({"weight_decay": Cause.OVER_REGULARIZED} if too_much else {})


@pytest.mark.parametrize("model", [perceptron, convnet])
@pytest.mark.parametrize("member", [Adam, AdamW, RmsProp])
def test_an_eps_that_swallows_the_denominator_is_told(member: Any, model: Any) -> None:
    of = bench(member(eps=1.0).build, lr=1e-4, model=model)
    assert causes(of) == {"optimizer_eps": Cause.ADAM_EPS}
    assert findings(of)["optimizer_eps"].change == ("optimizer.eps=1e-08",)
    assert causes(bench(member(eps=1e-5).build, lr=1e-3, model=model)) == {}


def test_a_large_eps_with_a_rate_that_makes_up_for_it_passes() -> None:
    assert causes(bench(RmsProp(eps=1.0).build, lr=0.5)) == {}


@pytest.mark.parametrize("limits", [Limits(gradient_norm=1e-4), Limits(gradient_value=1e-6)])
def test_clipping_far_below_the_gradient_is_told(limits: Limits) -> None:
    of = bench(Sgd(momentum=0.9).build, limits=limits)
    assert causes(of) == {"clipping": Cause.CLIP_TOO_SMALL}
    (change,) = findings(of)["clipping"].change
    key, _, value = change.partition("=")
    assert key.startswith("training.clip_")
    assert float(value) > 1e-2


def test_clipping_does_not_matter_to_steps_of_one_size() -> None:
    assert causes(bench(Adam().build, lr=1e-3, limits=Limits(gradient_norm=1e-4))) == {}
    assert causes(bench(Sgd().build, limits=Limits(gradient_norm=1.0))) == {}


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Sgd(momentum=0.995), "optimizer.momentum=0.9"),
        (Adam(betas=(0.995, 0.999)), "optimizer.betas=[0.9, 0.999]"),
    ],
)
def test_momentum_that_never_lets_go_is_a_hint(spec: Any, change: str) -> None:
    finding = findings(bench(spec.build, lr=1e-3))["momentum"]
    assert (finding.verdict, finding.cause) == (Verdict.WARN, Cause.MOMENTUM_TOO_HIGH)
    assert finding.confidence <= 0.5
    assert finding.change == (change,)


def test_what_cannot_be_probed_is_left_alone() -> None:
    class Wilful(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            if closure is None:
                raise RuntimeError("give me a closure")
            return super().step(closure)

    found = findings(bench(Wilful))
    assert {finding.verdict for finding in found.values()} == {Verdict.PASS}
    assert all("closure" in finding.measured for finding in found.values())
