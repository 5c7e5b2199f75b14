from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.losses import CustomLoss

OUTPUTS = OutputSpec(4)


def batch(n=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=generator), torch.randint(0, 4, (n,), generator=generator)


class Focal(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, targets):
        return focal(logits, targets, gamma=self.gamma)


def focal(logits, targets, gamma=2.0):
    log_p = F.cross_entropy(logits, targets, reduction="none")
    return ((1 - torch.exp(-log_p)) ** gamma * log_p).mean()


def make_focal(gamma=2.0):
    return lambda logits, targets: focal(logits, targets, gamma)


def unreduced(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


def as_float(logits, targets):
    return focal(logits, targets).item()


def broken(logits, targets):
    return logits.no_such_method()


def no_loss():
    return 3


criterion = Focal(gamma=1.0)


@pytest.fixture
def here(monkeypatch):
    """This module under a name that targets can import."""
    monkeypatch.setitem(sys.modules, "user_losses", sys.modules[__name__])
    return "user_losses"


@pytest.mark.parametrize(
    ("name", "args", "gamma"),
    [
        ("Focal", {}, 2.0),
        ("Focal", {"gamma": 3.0}, 3.0),
        ("make_focal", {}, 2.0),
        ("make_focal", {"gamma": 3.0}, 3.0),
        ("focal", {}, 2.0),
        ("focal", {"gamma": 3.0}, 3.0),
        ("criterion", {}, 1.0),
    ],
)
def test_a_custom_loss_is_made_by_its_target_or_is_it(here, name, args, gamma):
    logits, targets = batch()
    loss = CustomLoss(target=f"{here}:{name}", args=args).build(OUTPUTS)
    assert torch.equal(loss(logits, targets), focal(logits, targets, gamma))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unreduced", r"returned shape \[16\]: return the mean"),
        ("as_float", r"returned \d\.\d+: return the mean"),
        ("broken", r"AttributeError: .*no_such_method.*test_custom\.py:\d+"),
    ],
)
def test_a_custom_loss_that_goes_wrong_is_the_users_error(here, name, message):
    loss = CustomLoss(target=f"{here}:{name}").build(OUTPUTS)
    with pytest.raises(UserError, match=message) as caught:
        loss(*batch())
    assert str(caught.value).startswith("loss.target: user_losses:")


def test_a_custom_target_must_return_a_callable(here):
    with pytest.raises(UserError, match="returned int: return a callable"):
        CustomLoss(target=f"{here}:no_loss").build(OUTPUTS)


def test_wrong_arguments_of_a_custom_loss_are_the_users_error(here):
    with pytest.raises(UserError, match="unexpected keyword argument 'alpha'"):
        CustomLoss(target=f"{here}:Focal", args={"alpha": 1}).build(OUTPUTS)


def test_torchs_functions_can_be_named():
    logits, targets = batch()
    spec = CustomLoss(target="torch.nn.functional:cross_entropy", args={"label_smoothing": 0.1})
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    assert torch.equal(spec.build(OUTPUTS)(logits, targets), expected)


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_custom_loss_takes_the_targets_of_any_task(here, task):
    outputs, targets = torch.randn(6, 3), torch.rand(6, 3).round()
    loss = CustomLoss(target="torch.nn:L1Loss").build(OutputSpec(3, task=task))
    assert torch.equal(loss(outputs, targets), (outputs - targets).abs().mean())
