"""How hard several tasks pull at what they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.shapes import Head, OutputSpec
from nnrecipe.data.outputs import side_by_side, together
from nnrecipe.losses import TaskLosses, TasksLoss
from nnrecipe.training.sharing import Sharing

HEADS = side_by_side([Head("kind", OutputSpec(3)), Head("size", OutputSpec(1, task="regression"))])


class TwoHeads(nn.Module):
    """A trunk of two layers, and a layer for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.size = nn.Linear(6, 3), nn.Linear(6, 1)
        self.trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        z = self.trunk(x)
        return torch.cat([self.kind(z), self.size(z)], 1)


class OneLayer(nn.Module):
    """The same with one last layer, a row for each output."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.trunk(x))  # type: ignore[no-any-return]


def loss() -> TaskLosses:
    made = TasksLoss().build(together(HEADS))
    assert isinstance(made, TaskLosses)
    return made


def measured(model: nn.Module) -> tuple[Sharing, Tensor, Tensor]:
    inputs = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.cat([(torch.arange(10) % 3).float()[:, None], inputs[:, :1]], 1)
    return Sharing(list(model.parameters()), loss()), model(inputs), targets


def by_hand(trunk: nn.Module, outputs: Tensor, targets: Tensor, layers: slice) -> list[float]:
    """The norm of each task's gradient by the trunk's parameters, from plain backward passes."""
    norms = []
    losses = [
        F.cross_entropy(outputs[:, :3], targets[:, 0].long()),
        F.mse_loss(outputs[:, 3:], targets[:, 1:]),
    ]
    for own in losses:
        for parameter in trunk.parameters():
            parameter.grad = None
        own.backward(retain_graph=True)
        gradients = [
            p.grad.flatten() for p in list(trunk.parameters())[layers] if p.grad is not None
        ]
        norms.append(float(torch.cat(gradients).norm()))
    return norms


@pytest.mark.parametrize("network", [TwoHeads, OneLayer])
def test_the_trunk_is_what_both_tasks_move(network: type[TwoHeads] | type[OneLayer]) -> None:
    torch.manual_seed(0)
    model = network()
    sharing, outputs, targets = measured(model)
    losses = sharing.loss.each(outputs, targets)
    expected = by_hand(model.trunk, outputs, targets, slice(None))
    assert sharing.norms(losses).tolist() == pytest.approx(expected, rel=1e-5)
    assert sharing.norms(losses, scale=1024.0).tolist() == pytest.approx(expected, rel=1e-4)
    last = by_hand(model.trunk, outputs, targets, slice(2, 3))
    assert sharing.last_norms(losses).tolist() == pytest.approx(last, rel=1e-5)


def test_the_figures_are_weighed_and_by_name() -> None:
    torch.manual_seed(0)
    model = OneLayer()
    sharing, outputs, targets = measured(model)
    sharing.loss.weighting.factors.copy_(torch.tensor([1.0, 7.0]))
    found = sharing.figures(outputs, targets)
    plain = by_hand(model.trunk, outputs, targets, slice(None))
    assert list(found) == ["task_loss", "task_weight", "task_gradient"]
    assert found["task_weight"]["size"].item() == 7
    assert found["task_gradient"]["size"].item() == pytest.approx(7 * plain[1], rel=1e-5)
    assert found["task_gradient"]["kind"].item() == pytest.approx(plain[0], rel=1e-5)


def test_a_branch_that_is_switched_off_still_counts_as_shared() -> None:
    """Its gradient is zero at first; it is no head for that."""
    torch.manual_seed(0)
    model = OneLayer()
    extra = nn.Parameter(torch.ones(2, 2))
    sharing = Sharing([*model.parameters(), extra], loss())
    _, outputs, targets = measured(model)
    losses = sharing.loss.each(outputs, targets)
    assert sharing.norms(losses).isfinite().all()
