"""Values by hand, from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.losses.bce_with_logits import BceWithLogits
from nnrecipe.losses.focal import Focal
from nnrecipe.losses.multi_margin import MultiMargin
from nnrecipe.losses.nll import Nll
from nnrecipe.losses.regression import L1, Huber, Mse, SmoothL1

CLASSES = OutputSpec(4, class_counts=(10, 20, 30, 40), examples=100)
LABELS = OutputSpec(4, class_counts=(10, 20, 30, 40), examples=50, task="multi_label")
NUMBERS = OutputSpec(2, task="regression", examples=3)

ESTIMATES = torch.tensor([[0.0, 2.0], [1.0, -1.0], [5.0, 0.5]])
TARGETS = torch.tensor([[0.5, 2.0], [1.0, 3.0], [4.0, 0.0]])  # errors 0.5 0, 0 4, 1 0.5


def logits_and_labels():
    torch.manual_seed(0)
    return (3 * torch.randn(32, 4)).requires_grad_(), torch.randint(0, 2, (32, 4)).float()


def test_multi_margin():
    logits = torch.tensor([[3.2, 5.1, -1.7]])  # the lecture's cat: 2.9 + 0
    loss = MultiMargin().build(OutputSpec(3))(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(2.9 / 3, rel=1e-6)


def test_nll_takes_log_probabilities_as_they_are():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    loss = Nll().build(OutputSpec(3))(probabilities.log(), torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(-(math.log(0.25) + math.log(0.8)) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "total"),
    [
        (Mse(), 0.25 + 16 + 1 + 0.25),
        (L1(), 0.5 + 4 + 1 + 0.5),
        (Huber(), 0.125 + (4 - 0.5) + 0.5 + 0.125),
        (Huber(delta=2.0), 0.125 + 2 * (4 - 1) + 0.5 + 0.125),
        (SmoothL1(), 0.125 + (4 - 0.5) + 0.5 + 0.125),
        (SmoothL1(beta=2.0), 0.0625 + (4 - 1) + 0.25 + 0.0625),
    ],
    ids=repr,
)
def test_errors(spec, total):
    assert spec.build(NUMBERS)(ESTIMATES, TARGETS).item() == pytest.approx(total / 6, rel=1e-6)


@pytest.mark.parametrize("spec", [Mse(), L1(), Huber(), SmoothL1()], ids=repr)
def test_estimates_are_not_spread_over_targets_of_another_shape(spec):
    loss = spec.build(OutputSpec(1, task="regression"))
    with pytest.raises(UserError, match=r"outputs \[3\] for targets \[3, 1\]"):
        loss(torch.zeros(3), torch.zeros(3, 1))


def test_focal_of_the_papers_examples():
    """Section 3.2: with gamma 2, p = 0.9 counts 100 times less, p = 0.968 about 1000 times."""
    loss, plain = Focal().build(OutputSpec(2)), Focal(gamma=0.0).build(OutputSpec(2))
    for p, factor in ((0.9, 100.0), (0.968, 1 / 0.032**2)):
        logits, target = torch.tensor([[math.log(p), math.log(1 - p)]]), torch.tensor([0])
        assert (plain(logits, target) / loss(logits, target)).item() == pytest.approx(factor, 1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0, 4.0)])
def test_focal_of_classes(gamma, weights):
    torch.manual_seed(0)
    logits, targets = torch.randn(32, 4, dtype=torch.float64), torch.randint(0, 4, (32,))
    p = logits.softmax(1)[torch.arange(32), targets]
    w = torch.ones(32) if weights is None else torch.tensor(weights)[targets]
    expected = (-w * (1 - p) ** gamma * p.log()).sum() / w.sum()
    found = Focal(gamma=gamma, class_weights=weights).build(CLASSES)(logits, targets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
def test_focal_of_labels_is_torchvisions(gamma, alpha):
    logits, targets = logits_and_labels()
    found = Focal(gamma=gamma, alpha=alpha).build(LABELS)(logits, targets)
    expected = torchvision.ops.sigmoid_focal_loss(
        logits, targets, gamma=gamma, alpha=-1 if alpha is None else alpha, reduction="mean"
    )
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("lead", [0.0, 20.0, 200.0, -200.0])
def test_focal_is_finite_where_probabilities_round_to_0_and_1(gamma, lead):
    spec = Focal(gamma=gamma)
    for outputs, targets in (
        (CLASSES, torch.tensor([0])),
        (LABELS, torch.tensor([[1.0, 0, 0, 0]])),
    ):
        logits = torch.tensor([[lead, 0.0, 0.0, 0.0]], requires_grad=True)
        loss = spec.build(outputs)(logits, targets)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("fields", "outputs", "message"),
    [
        ({"class_weights": "balanced"}, LABELS, r"loss\.class_weights: .* use loss\.alpha"),
        ({"alpha": 0.25}, CLASSES, r"loss\.alpha: 0\.25: .* use loss\.class_weights"),
    ],
)
def test_focal_refuses_the_other_tasks_weights(fields, outputs, message):
    with pytest.raises(UserError, match=message):
        Focal(**fields).build(outputs)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0, 4.0)])
def test_smoothed_labels_lie_between_yes_and_no(weights):
    logits, targets = logits_and_labels()
    spec = BceWithLogits(label_smoothing=0.2, pos_weight=weights)
    expected = F.binary_cross_entropy_with_logits(
        logits,
        torch.where(targets > 0, 0.9, 0.1),
        pos_weight=None if weights is None else torch.tensor(weights),
    )
    torch.testing.assert_close(spec.build(LABELS)(logits, targets), expected)
