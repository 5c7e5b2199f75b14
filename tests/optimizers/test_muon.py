"""Muon on convolutional networks: which parameters it takes, and that kernels are matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import group, standard_rules
from nnrecipe.optimizers import Muon

LAYOUTS = [torch.contiguous_format, torch.channels_last]


class ConvNet(nn.Module):
    """Two convolutions, a position embedding, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3)
        self.position = nn.Parameter(torch.randn(1, 6, 2))
        self.hidden = nn.Linear(12, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, inputs):
        maps = torch.tanh(self.second(torch.tanh(self.norm(self.first(inputs)))))
        tokens = maps.flatten(2)[:, :, :2] + self.position
        return self.head(torch.tanh(self.hidden(tokens.flatten(1))))


def built(model, spec=None, lr=0.02):
    groups = group(model, standard_rules(model), lr=lr, weight_decay=0.1)
    return (spec or Muon()).build(groups, lr=lr)


def gradients(model, step):
    """Sets made-up gradients, the same for the same step."""
    draw = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        values = torch.randn(parameter.shape, generator=draw).to(parameter.dtype)
        parameter.grad = torch.empty_like(parameter).copy_(values)


def test_which_parameters_are_muons():
    model = ConvNet()
    optimizer = built(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    muons = {
        names[id(parameter)]
        for entry in optimizer.param_groups
        if "ns_steps" in entry
        for parameter in entry["params"]
    }
    everything = [id(p) for entry in optimizer.param_groups for p in entry["params"]]
    assert muons == {"first.weight", "second.weight", "hidden.weight"}
    assert sorted(everything) == sorted(names)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_a_kernel_moves_as_its_matrix_does_under_torchs(adjust, layout):
    model = ConvNet().to(memory_format=layout)
    matrices = [
        model.get_parameter(f"{name}.weight").detach().flatten(1).clone().requires_grad_()
        for name in ("first", "second", "hidden")
    ]
    reference = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn=adjust)
    optimizer = built(model, Muon(adjust_lr_fn=adjust))
    for step in range(20):
        gradients(model, step)
        for matrix, name in zip(matrices, ("first", "second", "hidden"), strict=True):
            matrix.grad = model.get_parameter(f"{name}.weight").grad.flatten(1).clone()
        reference.step()
        optimizer.step()
    for matrix, name in zip(matrices, ("first", "second", "hidden"), strict=True):
        kernel = model.get_parameter(f"{name}.weight").detach()
        # channels last has its columns in another order, which bfloat16 rounds differently
        exact = layout is torch.contiguous_format or name == "hidden"
        tolerance = 0.0 if exact else 0.02
        torch.testing.assert_close(kernel.flatten(1), matrix.detach(), rtol=0, atol=tolerance)
        assert (
            kernel.flatten(1) - ConvNet().get_parameter(f"{name}.weight").flatten(1)
        ).abs().max() > 0.05


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_step_is_orthogonal(layout):
    model = ConvNet().to(memory_format=layout)
    before = model.second.weight.detach().flatten(1).clone()
    gradients(model, 0)
    built(model, Muon(adjust_lr_fn="original", weight_decay=0.0), lr=1.0).step()
    change = before * (1 - 0.1) - model.second.weight.detach().flatten(1)
    singular = torch.linalg.svdvals(change)
    assert 0.6 < singular.min() < singular.max() < 1.3


def test_the_rest_has_its_own_rate():
    model = ConvNet()
    optimizer = built(model, Muon(adamw_factor=0.1), lr=0.5)
    rates = {"ns_steps" in entry: entry["lr"] for entry in optimizer.param_groups}
    assert rates == {True: 0.5, False: pytest.approx(0.05)}


def test_a_rate_set_on_the_whole_holds_in_the_parts():
    model = ConvNet()
    optimizer = built(model)
    start = [p.detach().clone() for p in model.parameters()]
    for entry in optimizer.param_groups:
        entry["lr"] = 0.0
    gradients(model, 0)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), start, strict=True))
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_it_learns():
    model = ConvNet()
    optimizer = built(model, lr=0.01)
    draw = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(16, 3, 8, 8, generator=draw), torch.arange(16) % 4
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize("freeze", [[], ["^0"]])
def test_without_hidden_weights_it_is_refused(freeze):
    layers = [nn.Linear(6, 5), nn.Linear(5, 3)] if freeze else [nn.Linear(6, 3)]
    model = nn.Sequential(*layers)
    groups = group(model, standard_rules(model, freeze), lr=0.1, weight_decay=0.0)
    with pytest.raises(UserError, match=r"optimizer\.kind: muon .* none trains: use adamw"):
        Muon().build(groups, lr=0.1)
