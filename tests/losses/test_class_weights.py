from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.losses.bce_with_logits import BceWithLogits
from nnrecipe.losses.cross_entropy import CrossEntropy
from nnrecipe.losses.focal import Focal
from nnrecipe.losses.nll import Nll

COUNTS = (10, 20, 30, 40)
CLASSES = OutputSpec(4, class_counts=COUNTS, examples=100)
LABELS = OutputSpec(4, class_counts=COUNTS, examples=50, task="multi_label")
WEIGHTS = (1.0, 2.0, 3.0, 4.0)
PLAIN_FOCAL = {"gamma": 0.0}  # which is cross-entropy

weighing = pytest.mark.parametrize(
    ("member", "fields", "reference"),
    [
        (CrossEntropy, {}, F.cross_entropy),
        (Nll, {}, F.nll_loss),
        (Focal, PLAIN_FOCAL, F.cross_entropy),
    ],
    ids=["cross_entropy", "nll", "focal"],
)
each_family = pytest.mark.parametrize(
    ("member", "field", "outputs"),
    [
        (CrossEntropy, "class_weights", CLASSES),
        (Nll, "class_weights", CLASSES),
        (Focal, "class_weights", CLASSES),
        (BceWithLogits, "pos_weight", LABELS),
    ],
    ids=["cross_entropy", "nll", "focal", "bce_with_logits"],
)


def batch(n=16):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 4, generator=generator)
    return logits.requires_grad_(), torch.randint(0, 4, (n,), generator=generator)


def labelled(n=16):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 4, generator=generator)
    return logits.requires_grad_(), torch.randint(0, 2, (n, 4), generator=generator).float()


def assert_alike(found, expected, logits):
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients)


@weighing
def test_a_listed_weight_is_torchs(member, fields, reference):
    logits, targets = batch()
    found = member(class_weights=WEIGHTS, **fields).build(CLASSES)(logits, targets)
    assert_alike(found, reference(logits, targets, weight=torch.tensor(WEIGHTS)), logits)


@weighing
def test_balanced_weights_are_sklearns(member, fields, reference):
    logits, targets = batch()
    labels = torch.arange(4).repeat_interleave(torch.tensor(COUNTS)).numpy()
    weights = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = member(class_weights="balanced", **fields).build(CLASSES)(logits, targets)
    expected = reference(logits, targets, weight=torch.tensor(weights).float())
    assert_alike(found, expected, logits)


def test_smoothing_and_weights_are_torchs():
    logits, targets = batch()
    spec = CrossEntropy(class_weights=WEIGHTS, label_smoothing=0.2)
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(WEIGHTS), label_smoothing=0.2)
    assert_alike(spec.build(CLASSES)(logits, targets), expected, logits)


def test_a_listed_weight_of_positives_is_torchs():
    logits, targets = labelled()
    expected = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.tensor(WEIGHTS))
    found = BceWithLogits(pos_weight=WEIGHTS).build(LABELS)(logits, targets)
    assert_alike(found, expected, logits)


def test_balanced_positives_weigh_as_much_as_the_negatives():
    spec = BceWithLogits(pos_weight="balanced")
    weights = [40 / 10, 30 / 20, 20 / 30, 10 / 40]
    assert spec.build(LABELS).loss.pos_weight.tolist() == pytest.approx(weights)


def test_a_label_that_all_or_none_have_still_counts():
    outputs = OutputSpec(2, class_counts=(0, 50), examples=50, task="multi_label")
    built = BceWithLogits(pos_weight="balanced").build(outputs)
    assert built.loss.pos_weight.tolist() == pytest.approx([50, 1 / 50])


@weighing
def test_balanced_weights_survive_a_class_without_examples(member, fields, reference):
    logits, targets = batch()
    counts = (10, 0, 20, 10)
    found = member(class_weights="balanced", **fields).build(OutputSpec(4, counts))(logits, targets)
    expected = reference(logits, targets, weight=torch.tensor([1.0, 10.0, 0.5, 1.0]))
    torch.testing.assert_close(found, expected)


def test_weights_follow_the_logits_precision_and_come_back():
    logits, targets = batch()
    loss = CrossEntropy(class_weights=(0.1, 0.2, 0.3, 0.7)).build(CLASSES)
    before = loss(logits, targets)
    assert loss(logits.double(), targets).dtype == torch.float64
    assert torch.equal(loss(logits, targets), before)


@each_family
def test_as_many_weights_as_outputs(member, field, outputs):
    narrow = OutputSpec(3, (1, 1, 1), task=outputs.task, examples=3)
    message = rf"loss\.{field}: 4 weights for 3 (classes|labels): give one for each"
    with pytest.raises(UserError, match=message):
        member(**{field: WEIGHTS}).build(narrow)


@each_family
@pytest.mark.parametrize("weights", ["balance", [1, 0], [1, -1], ["1"], 3, {"a": 1}])
def test_weights_that_make_no_sense_give_one_message(member, field, outputs, weights):
    with pytest.raises(ValidationError) as caught:
        member(**{field: weights})
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert "null, balanced, or a list" in error["msg"]
