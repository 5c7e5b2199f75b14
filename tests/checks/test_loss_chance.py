"""The loss before training, and why it lies above chance: the inputs, the weights or the depth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.loss.chance import LossAtChanceCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import OutputSpec

SHAPE, CLASSES = (1, 12, 12), 10
Fill = Callable[[Tensor], Any]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, CLASSES),
    )  # fmt: skip


def deep() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(144, 48), nn.Tanh()]
    for _ in range(8):
        layers += [nn.Linear(48, 48), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(48, CLASSES))


def convnet(norm: bool = False) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        norms = [nn.BatchNorm2d(outputs)] if norm else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *norms, nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(288, CLASSES))


def normed() -> nn.Module:
    return convnet(norm=True)


class Bare(nn.Module):
    """Matrices of its own, laid out the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(144, 64) / 12)
        self.last = nn.Parameter(torch.randn(64, CLASSES) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.first).relu() @ self.last


class Residual(nn.Module):
    """Residual branches without a norm, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(144, 48))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48)) for _ in range(10)
        )
        for branch in self.branches:
            drawn(branch, nn.init.kaiming_normal_)
        self.head = nn.Linear(48, CLASSES)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + self.factor * branch(x)
        return self.head(x)


def drawn(model: nn.Module, fill: Fill) -> nn.Module:
    for parameter in model.parameters():
        if parameter.ndim > 1:
            fill(parameter)
    return model


def wide_normal(weight: Tensor) -> None:
    nn.init.normal_(weight)


def judged(
    model: Callable[[], nn.Module],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    scale: float = 1.0,
    shift: float = 0.0,
    chance: float | None = None,
) -> Finding:
    draw = torch.Generator().manual_seed(2)
    inputs = scale * torch.randn(256, *SHAPE, generator=draw) + shift
    labels = torch.arange(256) % CLASSES
    outputs = OutputSpec(CLASSES, tuple(labels.bincount().tolist()), examples=256)
    both = (inputs, labels)
    data = {"outputs": outputs, "classes": tuple("0123456789")}
    bench = make_bench(model=model, loss=loss, chance=chance, train=both, val=both, data=data)
    (finding,) = LossAtChanceCheck().check(bench)
    return finding


NETWORKS = [mlp, deep, convnet, normed, Bare]


def kaiming(weight: Tensor) -> None:
    """The layout of `Bare` would be the other way round for torch's."""
    nn.init.normal_(weight, std=math.sqrt(2 / max(weight[0].numel(), 64)))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("fill", [None, kaiming, nn.init.orthogonal_])
def test_ordinary_weights_pass(network: Callable[[], nn.Module], fill: Fill | None) -> None:
    finding = judged(network if fill is None else lambda: drawn(network(), fill))
    assert finding.verdict is Verdict.PASS, finding


@pytest.mark.parametrize("network", NETWORKS)
def test_large_weights_are_named(network: Callable[[], nn.Module]) -> None:
    finding = judged(lambda: drawn(network(), wide_normal), chance=math.log(10))
    assert finding.cause is Cause.INIT_TOO_LARGE, finding
    assert finding.confidence >= 0.8
    mild = network is deep  # whose units keep the last layer's inputs below 1
    assert finding.verdict is (Verdict.WARN if mild else Verdict.FAIL)
    assert finding.expected == "2.3026 (ln 10)"


def test_a_last_layer_that_is_too_large_is_named_with_its_path() -> None:
    def model() -> nn.Module:
        made = convnet()
        made[-1].weight.data.mul_(200)
        return made

    finding = judged(model)
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.INIT_TOO_LARGE)
    assert "7.weight" in finding.advice


@pytest.mark.parametrize("network", [mlp, convnet, Bare])
@pytest.mark.parametrize(("scale", "shift"), [(100, 0), (70, 120)])
def test_raw_inputs_are_told_from_large_weights(
    network: Callable[[], nn.Module], scale: float, shift: float
) -> None:
    finding = judged(network, scale=scale, shift=shift)
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.INPUT_UNSCALED), finding


def test_large_weights_on_raw_inputs_are_told_as_such() -> None:
    finding = judged(lambda: drawn(mlp(), wide_normal), scale=100)
    assert finding.cause is Cause.INIT_TOO_LARGE


def test_raw_inputs_and_small_weights_start_at_chance() -> None:
    def model() -> nn.Module:
        return drawn(mlp(), lambda weight: nn.init.normal_(weight, std=1e-4))

    assert judged(model, scale=70).verdict is Verdict.PASS


def test_activations_that_explode_are_told_from_large_weights() -> None:
    finding = judged(lambda: Residual(3.0))
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, Cause.EXPLODING_ACTIVATIONS), finding
    assert judged(lambda: Residual(0.1)).verdict is Verdict.PASS


def summed(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="sum")


def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, weight=torch.arange(1.0, 11.0), label_smoothing=0.1)


def margin(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.multi_margin_loss(outputs, labels)


@pytest.mark.parametrize("loss", [summed, weighted, margin])
def test_chance_is_that_of_the_loss_at_hand(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert judged(mlp, loss=loss).verdict is Verdict.PASS
    assert judged(lambda: drawn(mlp(), wide_normal), loss=loss).cause is Cause.INIT_TOO_LARGE


def flipped(outputs: Tensor, labels: Tensor) -> Tensor:
    return -F.cross_entropy(outputs, labels)


def squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(outputs, F.one_hot(labels, CLASSES).float())


@pytest.mark.parametrize("loss", [flipped, squares, F.nll_loss])
def test_a_wrong_loss_is_not_held_against_the_weights(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    finding = judged(lambda: drawn(mlp(), wide_normal), loss=loss)
    assert finding.cause is None
    assert "loss_form" in finding.measured


def test_log_probabilities_have_a_chance_level_of_their_own() -> None:
    finding = judged(lambda: nn.Sequential(mlp(), nn.LogSoftmax(1)), loss=F.nll_loss)
    assert finding.verdict is Verdict.PASS
    assert finding.expected == "2.3026 (ln 10)"


def test_a_model_that_knows_something_passes() -> None:
    class Knowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            # the labels repeat in order, and so they can be told from the place in the sample
            return self.bias + 10.0 * x.flatten(1)[:, :CLASSES]

    labels = torch.arange(256) % CLASSES
    inputs = torch.zeros(256, *SHAPE)
    inputs.flatten(1)[torch.arange(256), labels] = 1.0
    outputs = OutputSpec(CLASSES, tuple(labels.bincount().tolist()), examples=256)
    data = {"outputs": outputs, "classes": tuple("0123456789")}
    both = (inputs, labels)
    bench = make_bench(model=Knowing, train=both, val=both, data=data, chance=math.log(10))
    (finding,) = LossAtChanceCheck().check(bench)
    assert finding.verdict is Verdict.PASS
    assert "below chance" in finding.measured
