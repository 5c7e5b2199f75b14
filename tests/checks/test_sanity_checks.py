"""Each sanity check: silent on a healthy model, and right about a seeded fault."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks import SanityCheck
from nnrecipe.checks.loss.chance import LossAtChanceCheck
from nnrecipe.checks.loss.form import LossFormCheck
from nnrecipe.checks.loss.regularization import RegularizationCheck
from nnrecipe.checks.model.gradients import GradientCheck
from nnrecipe.checks.model.outputs import OutputsCheck
from nnrecipe.checks.model.reach import ReachCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.spec import members
from nnrecipe.regularization import Penalty, Regularization


def _convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(16, 4),
    )  # fmt: skip


@pytest.mark.parametrize("check", members(SanityCheck))
@pytest.mark.parametrize("model", [perceptron, _convnet])
def test_healthy_models_pass(check: Any, model: Any) -> None:
    findings = list(check().check(make_bench(model=model)))
    assert findings
    assert {finding.verdict for finding in findings} == {Verdict.PASS}


@pytest.mark.parametrize("check", members(SanityCheck))
def test_checks_leave_no_trace_in_the_generators(check: Any) -> None:
    bench = make_bench(model=_convnet)
    before = torch.get_rng_state()
    list(check().check(bench))
    assert torch.equal(torch.get_rng_state(), before)


class _WrongSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x  # the derivative of x^2 is 2x


class _Lambda(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _between(function: Any) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), _Lambda(function), nn.Linear(8, 4))


def test_a_wrong_backward_fails() -> None:
    (finding,) = GradientCheck().check(make_bench(model=lambda: _between(_WrongSquare.apply)))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.WRONG_GRADIENT
    assert "1.weight" in finding.measured or "1.bias" in finding.measured


def test_a_detached_graph_fails_both_ways() -> None:
    bench = make_bench(model=lambda: _between(torch.detach))
    (numeric,) = GradientCheck().check(bench)
    assert numeric.cause is Cause.DETACHED_GRAPH
    (reach,) = ReachCheck().check(bench)
    assert reach.verdict is Verdict.FAIL
    assert reach.cause is Cause.DETACHED_GRAPH
    assert reach.measured.startswith("1.weight, 1.bias")


def test_kinks_are_not_faults() -> None:
    # Every input to the ReLU is exactly 0, where it has no derivative.
    def model() -> nn.Module:
        made = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))
        nn.init.zeros_(made[1].weight)
        nn.init.zeros_(made[1].bias)
        return made

    (finding,) = GradientCheck().check(make_bench(model=model))
    assert finding.verdict is Verdict.PASS
    assert int(finding.measured.split(", ")[-1].split()[0]) > 0


def test_a_model_that_needs_float32_is_not_judged() -> None:
    def model() -> nn.Module:
        return _between(lambda x: x @ torch.ones(8, 8))

    (finding,) = GradientCheck().check(make_bench(model=model))
    assert finding.verdict is Verdict.PASS
    assert "not measured" in finding.measured


class _Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(36, 8), nn.Linear(8, 8)]
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for block in self.blocks:
            x = block(x).relu()
        return self.last(x)


def test_layers_in_a_python_list_fail() -> None:
    (finding,) = ReachCheck().check(make_bench(model=_Hidden))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.UNREGISTERED_MODULES
    assert "blocks[0].weight" in finding.measured


class _Skipping(nn.Module):
    """Leaves a branch out of nearly every training step, as stochastic depth may."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        if not self.training or torch.rand(()) < 1e-6:
            x = x + self.branch(x).relu()
        return self.last(x)


def test_a_branch_that_is_left_out_at_random_is_reached() -> None:
    (finding,) = ReachCheck().check(make_bench(model=_Skipping))
    assert finding.verdict is Verdict.PASS
    assert finding.measured == "6 of 6 parameter tensors"


def _half_frozen() -> nn.Module:
    model = perceptron()
    model[1].requires_grad_(False)
    return model


def test_frozen_parameters_have_to_be_declared() -> None:
    (finding,) = ReachCheck().check(make_bench(model=_half_frozen))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.ACCIDENTAL_FREEZE
    declared = make_bench(model=_half_frozen, frozen=frozenset({"1.weight", "1.bias"}))
    (finding,) = ReachCheck().check(declared)
    assert finding.verdict is Verdict.PASS


def _large() -> nn.Module:
    model = perceptron()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=20.0)
    return model


def test_a_loss_far_above_chance_fails() -> None:
    (finding,) = LossAtChanceCheck().check(make_bench(model=_large, chance=math.log(4)))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.INIT_TOO_LARGE
    assert finding.expected.startswith("1.3863 (ln 4)")


def test_raw_pixels_are_told_from_large_weights() -> None:
    def linear() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))

    inputs, labels = blobs(200, seed=1)
    bench = make_bench(model=linear, train=(inputs * 200, labels), chance=math.log(4))
    (finding,) = LossAtChanceCheck().check(bench)
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.INPUT_UNSCALED


def _one_hot_mse(logits: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(logits, F.one_hot(targets, logits.shape[1]).to(logits.dtype))


@pytest.mark.parametrize(
    ("loss", "verdict", "cause"),
    [
        (lambda z, y: -F.cross_entropy(z, y), Verdict.FAIL, Cause.SIGN_FLIPPED),
        (F.nll_loss, Verdict.FAIL, Cause.MISSING_LOG_SOFTMAX),
        (lambda z, y: F.cross_entropy(z, y, reduction="sum"), Verdict.WARN, Cause.SUM_REDUCTION),
        (_one_hot_mse, Verdict.WARN, Cause.LOSS_MISMATCH),
    ],
)
def test_the_form_of_the_loss(loss: Any, verdict: Verdict, cause: Cause) -> None:
    (finding,) = LossFormCheck().check(make_bench(loss=loss))
    assert finding.verdict is verdict
    assert finding.cause is cause


@pytest.mark.parametrize(
    "loss", [F.multi_margin_loss, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)]
)
def test_other_sound_losses_pass(loss: Any) -> None:
    (finding,) = LossFormCheck().check(make_bench(loss=loss))
    assert finding.verdict is Verdict.PASS


def test_nll_of_log_probabilities_passes() -> None:
    def model() -> nn.Module:
        return nn.Sequential(perceptron(), nn.LogSoftmax(1))

    (finding,) = LossFormCheck().check(make_bench(model=model, loss=F.nll_loss))
    assert finding.verdict is Verdict.PASS


@pytest.mark.parametrize("width", [3, 5])
def test_the_number_of_outputs(width: int) -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, width))

    (finding,) = OutputsCheck().check(make_bench(model=model))
    assert finding.verdict is (Verdict.FAIL if width < 4 else Verdict.WARN)
    assert finding.cause is Cause.WRONG_OUTPUT_SIZE


@pytest.mark.parametrize("given", [{"l2": 0.5}, {"l1": 0.1}, {"l1": 0.1, "l2": 0.5}])
def test_the_loss_rises_by_the_penalty(given: dict[str, float]) -> None:
    bench = make_bench(penalty=Regularization(**given).penalty())
    (finding,) = RegularizationCheck().check(bench)
    weights = [w for w in bench.make_model().parameters() if w.ndim == 2]
    rise = sum(
        given.get("l2", 0) * float(w.detach().square().sum())
        + given.get("l1", 0) * float(w.detach().abs().sum())
        for w in weights
    )
    assert finding.verdict is Verdict.PASS
    assert f"up {rise:.4g}"[:7] in finding.measured


class _Inverted(Penalty):
    def of(self, weights: Any) -> Tensor:
        return -super().of(weights)


def test_a_penalty_that_lowers_the_loss_fails() -> None:
    (finding,) = RegularizationCheck().check(make_bench(penalty=_Inverted(l2=0.5)))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.REG_SIGN
