"""The loss before learning, against the built loss on the whole training split."""

from __future__ import annotations

import math

import pytest
import torch

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.losses.bce_with_logits import BceWithLogits
from nnrecipe.losses.cross_entropy import CrossEntropy
from nnrecipe.losses.custom import CustomLoss
from nnrecipe.losses.focal import Focal
from nnrecipe.losses.multi_margin import MultiMargin
from nnrecipe.losses.nll import Nll
from nnrecipe.losses.regression import L1, Huber, Mse, SmoothL1

COUNTS = (10, 20, 30, 40)
CLASSES = OutputSpec(4, class_counts=COUNTS, examples=100)
LABELS = OutputSpec(4, class_counts=COUNTS, examples=50, task="multi_label")
WEIGHTS = (1.0, 2.0, 3.0, 4.0)

CLASS_LOSSES = [
    *(
        CrossEntropy(class_weights=weights, label_smoothing=smoothing)
        for weights in (None, "balanced", WEIGHTS)
        for smoothing in (0.0, 0.1, 0.9)
    ),
    *(MultiMargin(margin=margin, p=p) for margin in (0.5, 1.0, 3.0) for p in (1, 2)),
    *(
        Focal(gamma=gamma, class_weights=weights)
        for gamma in (0.0, 0.5, 2.0)
        for weights in (None, "balanced", WEIGHTS)
    ),
]
LABEL_LOSSES = [
    *(
        BceWithLogits(pos_weight=weights, label_smoothing=smoothing)
        for weights in (None, "balanced", WEIGHTS)
        for smoothing in (0.0, 0.3)
    ),
    *(Focal(gamma=gamma, alpha=alpha) for gamma in (0.0, 0.5, 2.0) for alpha in (None, 0.25)),
]


def classes_of_the_split():
    return torch.arange(4).repeat_interleave(torch.tensor(COUNTS))


@pytest.mark.parametrize("spec", CLASS_LOSSES, ids=repr)
def test_of_classes_it_is_the_loss_of_equal_logits(spec):
    loss = spec.build(CLASSES)(torch.full((100, 4), 0.7), classes_of_the_split())
    assert spec.chance_level(CLASSES) == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("spec", LABEL_LOSSES, ids=repr)
def test_of_labels_it_is_the_loss_of_zero_logits(spec):
    targets = (torch.arange(50)[:, None] < torch.tensor(COUNTS)).float()
    loss = spec.build(LABELS)(torch.zeros(50, 4), targets)
    assert spec.chance_level(LABELS) == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, "balanced", WEIGHTS])
def test_of_log_probabilities_it_is_the_uniform_guess(weights):
    spec = Nll(class_weights=weights)
    uniform = torch.full((100, 4), -math.log(4))
    loss = spec.build(CLASSES)(uniform, classes_of_the_split())
    assert spec.chance_level(CLASSES) == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, "balanced", WEIGHTS])
def test_of_cross_entropy_it_is_ln_c(weights):
    assert CrossEntropy(class_weights=weights).chance_level(CLASSES) == math.log(4)


def test_of_focal_by_hand():
    assert Focal().chance_level(OutputSpec(10)) == pytest.approx(0.81 * math.log(10))


def test_of_the_squared_error_it_is_that_of_the_mean():
    targets = torch.randn(200, 3) * torch.tensor([0.5, 1.0, 4.0]) + torch.tensor([1.0, -2.0, 3.0])
    mean, std = targets.mean(0), targets.std(0, correction=0)
    outputs = OutputSpec(
        3,
        task="regression",
        examples=200,
        target_mean=tuple(mean.tolist()),
        target_std=tuple(std.tolist()),
    )
    loss = Mse().build(outputs)(mean.expand(200, 3), targets)
    assert Mse().chance_level(outputs) == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("spec", [L1(), SmoothL1(), Huber()], ids=repr)
def test_mean_and_spread_do_not_tell_that_of_other_errors(spec):
    outputs = OutputSpec(1, task="regression", examples=9, target_mean=(0.0,), target_std=(1.0,))
    assert spec.chance_level(outputs) is None


@pytest.mark.parametrize(
    "spec", [Mse(), BceWithLogits(pos_weight=WEIGHTS), Focal(alpha=0.25)], ids=repr
)
def test_before_the_data_are_read_it_is_unknown_if_they_decide_it(spec):
    task = "regression" if isinstance(spec, Mse) else "multi_label"
    assert spec.chance_level(OutputSpec(4, task=task)) is None


def test_of_a_users_loss_it_is_unknown():
    assert CustomLoss(target="torch.nn:CrossEntropyLoss").chance_level(CLASSES) is None
