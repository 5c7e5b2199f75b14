"""What holds for every loss."""

from __future__ import annotations

import pickle

import pytest
import torch
import torchvision
from pydantic import TypeAdapter
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.losses import USUAL_LOSSES, CrossEntropy, Loss

OUTPUTS = {
    "single_label": OutputSpec(4, class_counts=(10, 20, 30, 40), examples=100),
    "multi_label": OutputSpec(4, task="multi_label", class_counts=(10, 20, 30, 40), examples=50),
    "regression": OutputSpec(
        4, task="regression", examples=100, target_mean=(1.0,) * 4, target_std=(0.5, 1.0, 2.0, 3.0)
    ),
}


def softmax_focal(logits, targets):
    p = logits.softmax(1)[torch.arange(len(targets)), targets]
    return -((1 - p) ** 2 * p.log()).mean()


def sigmoid_focal(logits, targets):
    return torchvision.ops.sigmoid_focal_loss(logits, targets, alpha=-1, reduction="mean")


# what a member needs beside its kind, and another implementation of its defaults, for each task
NEEDED = {"custom": {"target": "torch.nn:CrossEntropyLoss"}}
REFERENCE = {
    ("cross_entropy", "single_label"): F.cross_entropy,
    ("nll", "single_label"): F.nll_loss,
    ("multi_margin", "single_label"): F.multi_margin_loss,
    ("focal", "single_label"): softmax_focal,
    ("focal", "multi_label"): sigmoid_focal,
    ("bce_with_logits", "multi_label"): F.binary_cross_entropy_with_logits,
    ("mse", "regression"): F.mse_loss,
    ("l1", "regression"): F.l1_loss,
    ("smooth_l1", "regression"): F.smooth_l1_loss,
    ("huber", "regression"): F.huber_loss,
    ("custom", "single_label"): F.cross_entropy,
}
FITTING = [
    (member, task)
    for member in members(Loss)
    for task in OUTPUTS
    if task in member.tasks and (kind_of(member), task) != ("custom", "multi_label")
    if (kind_of(member), task) != ("custom", "regression")  # tests/losses/test_custom.py
]
each_member = pytest.mark.parametrize("member", members(Loss), ids=kind_of)
each_fit = pytest.mark.parametrize(
    ("member", "task"), FITTING, ids=[f"{kind_of(member)}-{task}" for member, task in FITTING]
)


def batch(task, n=16, *, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(n, 4, generator=generator, dtype=dtype)
    targets = {
        "single_label": torch.randint(0, 4, (n,), generator=generator),
        "multi_label": torch.randint(0, 2, (n, 4), generator=generator).float(),
        "regression": torch.randn(n, 4, generator=generator),
    }[task]
    return outputs.requires_grad_(), targets


def spec_of(member):
    return member(**NEEDED.get(kind_of(member), {}))


@each_fit
def test_value_and_gradient_are_the_references(member, task):
    outputs, targets = batch(task)
    loss = spec_of(member).build(OUTPUTS[task])(outputs, targets)
    expected = REFERENCE[kind_of(member), task](outputs, targets)
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(value, outputs)[0] for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


@each_fit
def test_the_loss_is_a_mean(member, task):
    outputs, targets = batch(task)
    loss = spec_of(member).build(OUTPUTS[task])
    twice = loss(torch.cat([outputs, outputs]), torch.cat([targets, targets]))
    torch.testing.assert_close(twice, loss(outputs, targets))


@each_fit
def test_the_gradient_is_right_in_float64(member, task):
    outputs, targets = batch(task, 5, dtype=torch.float64)
    loss = spec_of(member).build(OUTPUTS[task])
    assert loss(outputs, targets).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), (outputs,))


@each_fit
def test_half_precision_outputs_are_computed_in_float32(member, task):
    outputs, targets = batch(task)
    half = outputs.detach().bfloat16()
    loss = spec_of(member).build(OUTPUTS[task])(half, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, REFERENCE[kind_of(member), task](half.float(), targets))


@each_fit
def test_a_built_loss_can_be_pickled(member, task):
    outputs, targets = batch(task)
    loss = spec_of(member).build(OUTPUTS[task])
    copy = pickle.loads(pickle.dumps(loss))
    assert torch.equal(copy(outputs, targets), loss(outputs, targets))


@each_fit
def test_without_regularization_labels_are_as_they_are(member, task):
    needed = NEEDED.get(kind_of(member), {})
    smoothing = {"label_smoothing": 0.3} if "label_smoothing" in member.model_fields else {}
    bare = member(**needed, **smoothing).unregularized().build(OUTPUTS[task])
    assert bare(*batch(task)) == member(**needed).build(OUTPUTS[task])(*batch(task))


@each_member
def test_a_loss_for_another_task_is_refused_with_the_usual_one(member):
    for task in OUTPUTS.keys() - member.tasks:
        message = rf"loss\.kind: {kind_of(member)} is for .*, and the targets are {task}: use"
        with pytest.raises(UserError, match=f"{message} {USUAL_LOSSES[task]}$"):
            spec_of(member).build(OUTPUTS[task])


def test_the_refusal_names_what_the_loss_is_for():
    spec = TypeAdapter(Loss).validate_python("mse")
    found = "loss.kind: mse is for regression, and the targets are single_label: use cross_entropy"
    with pytest.raises(UserError) as caught:
        spec.check_outputs(OutputSpec(10))
    assert str(caught.value) == found


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_usual_loss_of_a_task_is_for_it(task):
    spec = TypeAdapter(Loss).validate_python(USUAL_LOSSES[task])
    spec.build(OUTPUTS[task])
    assert task in spec.tasks


@each_member
def test_each_says_where_it_is_from(member):
    assert member.source
    assert member.source not in member.__doc__


def test_only_nll_takes_log_probabilities():
    assert [kind_of(m) for m in members(Loss) if m.expects_log_probabilities] == ["nll"]


def test_cross_entropy_is_the_default():
    family = TypeAdapter(Loss)
    assert family.validate_python({}) == CrossEntropy()
    assert family.validate_python({"label_smoothing": 0.1}) == CrossEntropy(label_smoothing=0.1)
