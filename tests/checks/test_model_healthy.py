"""Every check of the model is silent on sound networks, whatever the task, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.architectures.resnet import ResNet
from nnrecipe.architectures.vit import Vit
from nnrecipe.checks.model import ModelCheck
from nnrecipe.checks.model.batch_norm import judge_statistics
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.data.batch import Batch
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm, LayerNorm

CHECKS = get_args(ModelCheck)


def _tabular(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, outputs))


def _rows(targets: Tensor) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(len(targets), 9, generator=draw), targets


def _several_labels() -> dict[str, Any]:
    targets = torch.randint(2, (120, 3), generator=torch.Generator().manual_seed(4)).float()
    return {
        "model": lambda: _tabular(3),
        "loss": F.binary_cross_entropy_with_logits,
        "train": _rows(targets),
        "data": {"outputs": OutputSpec(3, (60, 60, 60), task="multi_label", examples=120)},
    }


def _values() -> dict[str, Any]:
    targets = torch.rand(120, 1, generator=torch.Generator().manual_seed(4))
    outputs = OutputSpec(1, (), "regression", 120, target_mean=(0.5,), target_std=(0.3,))
    return {
        "model": lambda: nn.Sequential(_tabular(1), nn.Sigmoid()),
        "loss": F.mse_loss,
        "train": _rows(targets),
        "data": {"outputs": outputs},
    }


class Recurrent(nn.Module):
    """Rows of pixels, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.GRU(6, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cells(x.flatten(1, 2))[0][:, -1])  # type: ignore[no-any-return]


def _built(architecture: Any, norm: Any, inputs: InputShape) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(5)
    examples = torch.randn(60, *inputs, generator=draw), torch.arange(60) % 4
    return {
        "model": lambda: architecture.build(inputs, OutputSpec(4), hidden=Hidden(norm=norm)),
        "train": examples,
        "val": examples,
    }


NETWORKS: dict[str, Callable[[], dict[str, Any]]] = {
    "several labels": _several_labels,
    "values": _values,
    "recurrent": lambda: {"model": Recurrent},
    "residual": lambda: _built(ResNet(depth=8, width=0.25), BatchNorm(), (3, 16, 16)),
    "transformer": lambda: _built(Vit(patch=8, dim=16, depth=2, heads=2), LayerNorm(), (3, 16, 16)),
    "five examples": lambda: {"model": perceptron, "train": blobs(5, seed=1)},
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_sound_networks_pass_and_are_measured(name: str, check: Any) -> None:
    found = list(check().check(make_bench(**NETWORKS[name]())))
    assert found
    for finding in found:
        assert finding.verdict is Verdict.PASS, finding
        assert "not measured" not in finding.measured, finding


class Unfit(nn.Module):
    """Works with the recipe's batches alone, and with float32."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or len(x) != 32:
            raise OSError("not as expected")
        return self.last(x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("check", CHECKS[1:])
def test_what_a_module_raises_is_no_finding_against_it(check: Any) -> None:
    for finding in check().check(make_bench(model=Unfit)):
        assert finding.verdict is Verdict.PASS


@pytest.mark.parametrize("stale", [False, True])
def test_statistics_after_training(stale: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)
    )
    inputs, labels = blobs(200, seed=1)
    batches = [Batch(inputs + 30, labels)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    norm = model[2]
    assert isinstance(norm, nn.BatchNorm1d)
    norm.momentum = 1e-4 if stale else 0.1
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(batches[0].inputs), labels).backward()
        optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    finding = judge_statistics(
        model,
        training=batches,
        validation=batches,
        loss=F.cross_entropy,
        outputs=OutputSpec(4),
    )
    assert finding is not None
    assert (finding.verdict is Verdict.FAIL) == stale
    assert finding.cause is (Cause.BN_STATS if stale else None)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_without_batch_norms_there_are_no_statistics() -> None:
    batch = [Batch(*blobs(20, seed=1))]
    loss, outputs = F.cross_entropy, OutputSpec(4)
    found = judge_statistics(
        perceptron(), training=batch, validation=batch, loss=loss, outputs=outputs
    )
    assert found is None
