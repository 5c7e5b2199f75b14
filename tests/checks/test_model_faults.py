"""Each check of the model names a seeded fault, in a perceptron and in a convolutional network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import CLASSES, blobs, make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.model.batch_norm import NormBatchSizeCheck, StatisticsCheck
from nnrecipe.checks.model.bottleneck import BottleneckCheck
from nnrecipe.checks.model.dropout import DropoutCheck
from nnrecipe.checks.model.eval_mode import EvalModeCheck
from nnrecipe.checks.model.finite_gradient import FiniteGradientCheck
from nnrecipe.checks.model.form import OutputFormCheck
from nnrecipe.checks.model.gradients import GradientCheck
from nnrecipe.checks.model.isolation import IsolationCheck
from nnrecipe.checks.model.nonlinearity import NonlinearityCheck
from nnrecipe.checks.model.reach import ReachCheck
from nnrecipe.checks.model.sensitivity import InputSensitivityCheck
from nnrecipe.checks.model.symmetry import SymmetryCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict

Function = Callable[[Tensor], Tensor]
Make = Callable[..., nn.Module]


class Call(nn.Module):
    """A function of the hidden values, and whether it is training, as a module."""

    def __init__(self, function: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.training)


def mlp(*, first: Any = (), middle: Any = (), last: Any = (), width: int = 16) -> nn.Module:
    return nn.Sequential(
        *first, nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU(),
        *middle, nn.Linear(width, CLASSES), *last,
    )  # fmt: skip


def convnet(*, first: Any = (), middle: Any = (), last: Any = (), width: int = 16) -> nn.Module:
    return nn.Sequential(
        *first, nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, width, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), *middle, nn.Linear(width, CLASSES), *last,
    )  # fmt: skip


MAKERS = [mlp, convnet]


def _found(check: Any, model: Callable[[], nn.Module], **changes: Any) -> Finding:
    (finding,) = check().check(make_bench(model=model, **changes))
    assert isinstance(finding, Finding)
    return finding


def _assert(finding: Finding, cause: Cause | None, verdict: Verdict) -> None:
    assert "not measured" not in finding.measured, finding
    assert (finding.cause, finding.verdict) == (cause, verdict), finding
    assert bool(finding.advice) == (cause is not None)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (nn.Softmax(1), Cause.DOUBLE_SOFTMAX),
        (nn.Sigmoid(), Cause.SIGMOID_LOGITS),
        (nn.Tanh(), Cause.SIGMOID_LOGITS),
        (nn.Hardtanh(), Cause.SIGMOID_LOGITS),
        (nn.ReLU(), Cause.RELU_LOGITS),
        (nn.Softplus(), Cause.RELU_LOGITS),
        (nn.LogSoftmax(1), None),
        (nn.LeakyReLU(0.2), None),
        (nn.Identity(), None),
    ],
)
def test_what_the_last_activation_does(make: Make, end: nn.Module, cause: Cause | None) -> None:
    finding = _found(OutputFormCheck, lambda: make(last=[end]))
    _assert(finding, cause, Verdict.FAIL if cause else Verdict.PASS)


def _likelihood(probabilities: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(torch.log(probabilities + 1e-8), targets)


def _brier(probabilities: Tensor, targets: Tensor) -> Tensor:
    return (probabilities - F.one_hot(targets, CLASSES)).square().sum(1).mean()


@pytest.mark.parametrize("loss", [_likelihood, _brier])
def test_probabilities_are_right_where_the_loss_takes_them(loss: Any) -> None:
    finding = _found(OutputFormCheck, lambda: mlp(last=[nn.Softmax(1)]), loss=loss)
    _assert(finding, None, Verdict.PASS)


def test_an_output_of_nan_hides_no_softmax() -> None:
    def spoil(x: Tensor, _training: bool) -> Tensor:
        return torch.where(torch.arange(len(x))[:, None] == 0, torch.nan, x)

    finding = _found(OutputFormCheck, lambda: mlp(last=[nn.Softmax(1), Call(spoil)]))
    _assert(finding, Cause.DOUBLE_SOFTMAX, Verdict.FAIL)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("value", [0.0, 0.05])
def test_units_that_are_all_alike(make: Make, value: float) -> None:
    def model() -> nn.Module:
        made = make()
        for parameter in made.parameters():
            nn.init.constant_(parameter, value if parameter.ndim > 1 else 0.0)
        return made

    cause = Cause.CONSTANT_INIT if value else Cause.ZERO_INIT
    _assert(_found(SymmetryCheck, model), cause, Verdict.FAIL)
    blind = _found(InputSensitivityCheck, model)
    assert blind.cause is (None if value else Cause.ZERO_INIT)


@pytest.mark.parametrize("make", MAKERS)
def test_a_head_of_zeros_and_biases_of_zero_are_healthy(make: Make) -> None:
    def model() -> nn.Module:
        made = make()
        for parameter in made.parameters():
            if parameter.ndim == 1 or len(parameter) == CLASSES:
                nn.init.zeros_(parameter)
        return made

    _assert(_found(SymmetryCheck, model), None, Verdict.PASS)
    _assert(_found(InputSensitivityCheck, model), None, Verdict.PASS)


class Fixup(nn.Module):
    """Residual branches and a head that start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, CLASSES)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
            for _ in range(2)
        )
        for branch in self.branches:
            nn.init.zeros_(branch[2].weight)  # type: ignore[index]
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x.relu().mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("check", [SymmetryCheck, InputSensitivityCheck, ReachCheck])
def test_branches_of_zeros_are_healthy(check: Any) -> None:
    _assert(_found(check, Fixup), None, Verdict.PASS)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "ignore", [lambda x, _: 0 * x, lambda x, _: torch.ones_like(x), lambda x, _: x - x]
)
def test_inputs_that_are_ignored(make: Make, ignore: Any) -> None:
    finding = _found(InputSensitivityCheck, lambda: make(first=[Call(ignore)]))
    _assert(finding, Cause.INPUT_IGNORED, Verdict.FAIL)


@pytest.mark.parametrize("make", MAKERS)
def test_biases_that_shut_every_relu(make: Make) -> None:
    def model() -> nn.Module:
        made = make()
        layers = [m for m in made if isinstance(m, nn.Linear | nn.Conv2d)]  # type: ignore[attr-defined]
        assert layers[0].bias is not None
        nn.init.constant_(layers[0].bias, -30.0)
        for layer in layers[1:]:
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        return made

    _assert(_found(InputSensitivityCheck, model), Cause.DEAD_RELU, Verdict.FAIL)


def test_constant_data_are_not_the_models_fault() -> None:
    inputs, labels = blobs(200, seed=1)
    same = inputs[:1].expand_as(inputs).clone()
    _assert(_found(InputSensitivityCheck, mlp, train=(same, labels)), None, Verdict.PASS)


def _transposed(x: Tensor, _training: bool) -> Tensor:
    return x.t().reshape(x.shape)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("mix", [_transposed, lambda x, _: x - x.mean(0)])
def test_a_batch_that_is_mixed(make: Make, mix: Any) -> None:
    finding = _found(IsolationCheck, lambda: make(middle=[Call(mix)]))
    _assert(finding, Cause.BATCH_MIXING, Verdict.FAIL)


class Recurrent(nn.Module):
    """Reads images row by row, and predicts from what it knows after the last."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.cells = nn.LSTM(6, 16, batch_first=batch_first)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.cells(x.squeeze(1))[0][:, -1])


class Backwards(nn.Module):
    """Adds up along the batch, from its end."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(0).cumsum(0).flip(0)


def test_a_recurrent_layer_that_runs_along_the_batch() -> None:
    finding = _found(IsolationCheck, lambda: Recurrent(batch_first=False))
    _assert(finding, Cause.BATCH_MIXING, Verdict.FAIL)
    finding = _found(IsolationCheck, lambda: mlp(middle=[Backwards()]))
    _assert(finding, Cause.BATCH_MIXING, Verdict.FAIL)
    _assert(_found(IsolationCheck, lambda: Recurrent(batch_first=True)), None, Verdict.PASS)


def _functional_norm(x: Tensor, _training: bool) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "norm", [Call(_functional_norm), nn.BatchNorm1d(16, track_running_stats=False)]
)
def test_batch_statistics_in_eval_mode(make: Make, norm: nn.Module) -> None:
    finding = _found(IsolationCheck, lambda: make(middle=[norm]))
    _assert(finding, Cause.EVAL_INACTIVE, Verdict.FAIL)


class Stuck(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> Stuck:
        super().train(True)
        return self


def _always_drop(x: Tensor, _training: bool) -> Tensor:
    return F.dropout(x, 0.5)


def _own_mask(x: Tensor, _training: bool) -> Tensor:
    return x * (torch.rand_like(x) > 0.3)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("layer", [Call(_always_drop), Call(_own_mask), Stuck(16)])
def test_what_ignores_eval_mode(make: Make, layer: nn.Module) -> None:
    finding = _found(EvalModeCheck, lambda: make(middle=[layer]))
    _assert(finding, Cause.EVAL_INACTIVE, Verdict.FAIL)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("check", [EvalModeCheck, IsolationCheck])
def test_norms_and_dropout_that_heed_eval_mode(make: Make, check: Any) -> None:
    layers = [nn.BatchNorm1d(16), nn.Dropout(0.5), Call(lambda x, t: F.dropout(x, 0.5, t))]
    _assert(_found(check, lambda: make(middle=layers)), None, Verdict.PASS)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("layers", "sick"),
    [
        ([nn.Dropout(0.95)], True),
        ([Call(lambda x, t: F.dropout(x, 0.95, t))], True),
        ([nn.Dropout(0.5)], False),
        ([nn.Dropout(0.5), nn.Dropout(0.5)], False),
        ([], False),
    ],
)
def test_the_strength_of_dropout(make: Make, layers: Any, sick: bool) -> None:
    finding = _found(DropoutCheck, lambda: make(middle=layers))
    cause = Cause.DROPOUT_TOO_HIGH if sick else None
    _assert(finding, cause, Verdict.WARN if sick else Verdict.PASS)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("size", "norm", "sick"),
    [
        (2, nn.BatchNorm1d(16), True),
        (32, nn.BatchNorm1d(16), False),
        (2, nn.LayerNorm(16), False),
    ],
)
def test_batch_norms_in_small_batches(make: Make, size: int, norm: nn.Module, sick: bool) -> None:
    finding = _found(NormBatchSizeCheck, lambda: make(middle=[norm]), batch_size=size)
    cause = Cause.BN_SMALL_BATCH if sick else None
    _assert(finding, cause, Verdict.WARN if sick else Verdict.PASS)


@pytest.mark.parametrize(
    ("momentum", "sick"), [(0.0, True), (1e-4, True), (0.99, True), (0.1, False), (None, False)]
)
def test_the_momentum_of_batch_norms(momentum: float | None, sick: bool) -> None:
    norm = nn.BatchNorm1d(16, momentum=momentum)
    finding = _found(StatisticsCheck, lambda: mlp(middle=[norm]))
    cause = Cause.BN_STATS if sick else None
    _assert(finding, cause, Verdict.WARN if sick else Verdict.PASS)


def _linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Dropout(0.1), nn.Linear(16, CLASSES))


def _linear_convolutions(pool: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), pool, nn.Flatten(), nn.Linear(32, CLASSES),
        nn.LogSoftmax(1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (_linear, Verdict.FAIL),
        (lambda: _linear_convolutions(nn.AvgPool2d(2)), Verdict.FAIL),
        (lambda: _linear_convolutions(nn.MaxPool2d(2)), Verdict.WARN),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)), Verdict.PASS),
        (mlp, Verdict.PASS),
        (convnet, Verdict.PASS),
    ],
)
def test_layers_with_nothing_between(model: Any, verdict: Verdict) -> None:
    cause = None if verdict is Verdict.PASS else Cause.NO_NONLINEARITY
    _assert(_found(NonlinearityCheck, model), cause, verdict)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("width", "sick"), [(1, True), (4, False)])
def test_a_layer_of_one_unit(make: Make, width: int, sick: bool) -> None:
    finding = _found(BottleneckCheck, lambda: make(width=width))
    cause = Cause.BOTTLENECK if sick else None
    _assert(finding, cause, Verdict.WARN if sick else Verdict.PASS)


class Excited(nn.Module):
    """A gate of one unit beside the channels, as squeeze and excitation has it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(16, 1), nn.ReLU(), nn.Linear(1, 16), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def test_a_narrow_gate_is_no_bottleneck() -> None:
    finding = _found(BottleneckCheck, lambda: convnet(middle=[Excited()]))
    _assert(finding, None, Verdict.PASS)


def test_inputs_of_two_numbers_are_no_bottleneck() -> None:
    inputs, labels = torch.randn(200, 2), torch.arange(200) % CLASSES

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    finding = _found(BottleneckCheck, model, train=(inputs, labels), val=(inputs, labels))
    _assert(finding, None, Verdict.PASS)


def _root_of_nothing(x: Tensor, _training: bool) -> Tensor:
    return x + (0 * x).square().sum(1, keepdim=True).sqrt()


def _masked_too_late(x: Tensor, _training: bool) -> Tensor:
    gone = x - x.detach()
    return x + torch.where(gone > 0, gone.log(), torch.zeros_like(gone))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("operation", "name"), [(_root_of_nothing, "sqrt"), (_masked_too_late, "log")]
)
def test_the_operation_without_a_gradient_is_named(make: Make, operation: Any, name: str) -> None:
    finding = _found(FiniteGradientCheck, lambda: make(middle=[Call(operation)]))
    _assert(finding, Cause.NAN_GRADIENT_OP, Verdict.FAIL)
    assert f"from {name} on" in finding.measured
    file, _, line = finding.where.rpartition(":")
    assert file == __file__
    assert abs(int(line) - operation.__code__.co_firstlineno) <= 2
    assert not torch.is_anomaly_enabled()


def _straight_through(x: Tensor, _training: bool) -> Tensor:
    return x + ((x > 0.1).to(x) - x).detach()


def _rounded(x: Tensor, _training: bool) -> Tensor:
    return 0.5 * x + (torch.round(4 * x) / 4 - x).detach() + x


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("estimator", [_straight_through, _rounded])
@pytest.mark.parametrize("check", [GradientCheck, ReachCheck])
def test_straight_through_estimators_are_no_faults(make: Make, estimator: Any, check: Any) -> None:
    finding = _found(check, lambda: make(middle=[Call(estimator)]))
    assert finding.verdict is Verdict.PASS


def _through_numpy(x: Tensor, _training: bool) -> Tensor:
    return torch.from_numpy(x.detach().numpy())


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cut", [_through_numpy, lambda x, _: x.data])
def test_where_the_graph_ends(make: Make, cut: Any) -> None:
    finding = _found(ReachCheck, lambda: make(middle=[Call(cut)]))
    _assert(finding, Cause.DETACHED_GRAPH, Verdict.FAIL)


class Box:
    """A plain object that holds a layer."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer


def _hidden(where: str) -> nn.Module:
    layer = nn.Linear(16, 16)
    call = Call(lambda x, _: x)
    if where == "closure":
        call.function = lambda x, _: layer(x)
    elif where == "made in forward":
        call.function = lambda x, _: nn.Linear(16, 16)(x)
    elif where == "object":
        call.box = Box(layer)  # type: ignore[assignment]
        call.function = lambda x, _: call.box.layer(x)  # type: ignore[union-attr]
    elif where == "nested":
        call.layers = {"all": [(layer,)]}  # type: ignore[assignment]
        call.function = lambda x, _: call.layers["all"][0][0](x)  # type: ignore[index]
    else:
        weight = torch.randn(16, 16).requires_grad_()
        call.function = lambda x, _: x @ weight
    return call


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("where", ["closure", "made in forward", "object", "nested", "tensor"])
def test_layers_that_are_not_registered(make: Make, where: str) -> None:
    finding = _found(ReachCheck, lambda: make(middle=[_hidden(where)]))
    _assert(finding, Cause.UNREGISTERED_MODULES, Verdict.FAIL)


def test_parameters_that_the_optimizer_lacks() -> None:
    def only_the_head(model: Any, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        return torch.optim.SGD(model[-1].parameters(), lr=lr)

    finding = _found(ReachCheck, mlp, make_optimizer=only_the_head)
    _assert(finding, Cause.ACCIDENTAL_FREEZE, Verdict.WARN)
    assert "1.weight" in finding.measured


@pytest.mark.parametrize("make", MAKERS)
def test_frozen_random_weights_and_frozen_trained_ones(make: Make) -> None:
    def frozen(*, trained: bool) -> nn.Module:
        model = make(width=64)
        if trained:  # a few directions stand out, as they do after a training
            with torch.no_grad():
                for parameter in model.parameters():
                    rows = parameter.view(len(parameter), -1)
                    rows += 2 * rows[:, :1] * rows[:1]
                    rows[0] *= 4
        for layer in list(model.children())[:-1]:
            layer.requires_grad_(False)
        return model

    finding = _found(ReachCheck, lambda: frozen(trained=False))
    _assert(finding, Cause.ACCIDENTAL_FREEZE, Verdict.FAIL)
    _assert(_found(ReachCheck, lambda: frozen(trained=True)), None, Verdict.PASS)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", MAKERS)
def test_a_single_unit_is_told_from_ignored_inputs(make: Make, seed: int) -> None:
    """The unit is shut in every second draw of the weights, and may be from the start."""
    finding = _found(InputSensitivityCheck, lambda: make(width=1), seed=seed)
    assert finding.cause is not Cause.INPUT_IGNORED
    _assert(
        _found(BottleneckCheck, lambda: make(width=1), seed=seed), Cause.BOTTLENECK, Verdict.WARN
    )
