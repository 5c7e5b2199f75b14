from __future__ import annotations

import math
import pickle
import sys

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.losses import CrossEntropy, CustomLoss, Loss, MultiMargin

OUTPUTS = OutputSpec(num_classes=4, class_counts=(10, 20, 30, 40))
WEIGHTS = (1.0, 2.0, 3.0, 4.0)

# what a member needs beside its kind, and torch's function for the defaults
NEEDED = {"custom": {"target": "torch.nn:CrossEntropyLoss"}}
REFERENCE = {
    "cross_entropy": F.cross_entropy,
    "multi_margin": F.multi_margin_loss,
    "custom": F.cross_entropy,
}
each_member = pytest.mark.parametrize("member", members(Loss), ids=kind_of)


def batch(n=16, *, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 4, generator=generator, dtype=dtype)
    return logits.requires_grad_(), torch.randint(0, 4, (n,), generator=generator)


def spec_of(member):
    return member(**NEEDED.get(kind_of(member), {}))


@each_member
def test_value_and_gradient_are_torchs(member):
    logits, targets = batch()
    loss = spec_of(member).build(OUTPUTS)(logits, targets)
    expected = REFERENCE[kind_of(member)](logits, targets)
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


@each_member
def test_the_loss_is_a_mean(member):
    logits, targets = batch()
    loss = spec_of(member).build(OUTPUTS)
    twice = loss(torch.cat([logits, logits]), torch.cat([targets, targets]))
    torch.testing.assert_close(twice, loss(logits, targets))


@each_member
def test_the_gradient_is_right_in_float64(member):
    logits, targets = batch(5, dtype=torch.float64)
    loss = spec_of(member).build(OUTPUTS)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), (logits,))


@each_member
def test_half_precision_logits_are_computed_in_float32(member):
    logits, targets = batch()
    half = logits.detach().bfloat16()
    loss = spec_of(member).build(OUTPUTS)(half, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, REFERENCE[kind_of(member)](half.float(), targets))


@each_member
def test_a_built_loss_can_be_pickled(member):
    logits, targets = batch()
    loss = spec_of(member).build(OUTPUTS)
    copy = pickle.loads(pickle.dumps(loss))
    assert torch.equal(copy(logits, targets), loss(logits, targets))


@each_member
def test_chance_level_is_the_loss_of_equal_logits(member):
    spec = spec_of(member)
    level = spec.chance_level(OUTPUTS)
    if kind_of(member) == "custom":
        assert level is None
    else:
        assert level == pytest.approx(loss_of_equal_logits(spec), rel=1e-6)


def loss_of_equal_logits(spec):
    """Over a batch with the classes of the training split in their proportions."""
    targets = torch.arange(4).repeat_interleave(torch.tensor(OUTPUTS.class_counts))
    return spec.build(OUTPUTS)(torch.full((len(targets), 4), 0.7), targets).item()


@pytest.mark.parametrize("weights", [None, "balanced", WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_chance_level_of_cross_entropy_with_weights_and_smoothing(weights, smoothing):
    spec = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    assert spec.chance_level(OUTPUTS) == pytest.approx(loss_of_equal_logits(spec), rel=1e-6)


@pytest.mark.parametrize("weights", [None, "balanced", WEIGHTS])
def test_chance_level_of_cross_entropy_is_ln_c(weights):
    assert CrossEntropy(class_weights=weights).chance_level(OUTPUTS) == math.log(4)


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("p", [1, 2])
def test_chance_level_of_multi_margin(margin, p):
    spec = MultiMargin(margin=margin, p=p)
    assert spec.chance_level(OUTPUTS) == pytest.approx(loss_of_equal_logits(spec), rel=1e-6)


def test_multi_margin_by_hand():
    logits = torch.tensor([[3.2, 5.1, -1.7]])  # the lecture's cat: 2.9 + 0
    loss = MultiMargin().build(OutputSpec(3))(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(2.9 / 3, rel=1e-6)


def test_smoothing_and_weights_are_torchs():
    logits, targets = batch()
    spec = CrossEntropy(class_weights=WEIGHTS, label_smoothing=0.2)
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(WEIGHTS), label_smoothing=0.2)
    torch.testing.assert_close(spec.build(OUTPUTS)(logits, targets), expected)


def test_balanced_weights_are_sklearns():
    logits, targets = batch()
    labels = torch.arange(4).repeat_interleave(torch.tensor(OUTPUTS.class_counts)).numpy()
    weights = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(weights).float())
    balanced = CrossEntropy(class_weights="balanced").build(OUTPUTS)(logits, targets)
    torch.testing.assert_close(balanced, expected)


def test_balanced_weights_survive_a_class_without_examples():
    logits, targets = batch()
    spec = CrossEntropy(class_weights="balanced")
    loss = spec.build(OutputSpec(4, (10, 0, 20, 10)))(logits, targets)
    assert torch.isfinite(loss)


def test_weights_follow_the_logits_precision_and_come_back():
    logits, targets = batch()
    loss = CrossEntropy(class_weights=(0.1, 0.2, 0.3, 0.7)).build(OUTPUTS)
    before = loss(logits, targets)
    assert loss(logits.double(), targets).dtype == torch.float64
    assert torch.equal(loss(logits, targets), before)


def test_as_many_weights_as_classes():
    with pytest.raises(UserError, match=r"loss\.class_weights: 4 weights for 3 classes"):
        CrossEntropy(class_weights=WEIGHTS).build(OutputSpec(3, (1, 1, 1)))


@pytest.mark.parametrize("weights", ["balance", [1, 0], [1, -1], ["1"], 3, {"a": 1}])
def test_class_weights_that_make_no_sense_give_one_message(weights):
    with pytest.raises(ValidationError) as caught:
        CrossEntropy(class_weights=weights)
    (error,) = caught.value.errors()
    assert error["loc"] == ("class_weights",)
    assert "null, balanced, or a list" in error["msg"]


def test_cross_entropy_is_the_default():
    family = TypeAdapter(Loss)
    assert family.validate_python({}) == CrossEntropy()
    assert family.validate_python({"label_smoothing": 0.1}) == CrossEntropy(label_smoothing=0.1)


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
        ("broken", r"AttributeError: .*no_such_method.*test_losses\.py:\d+"),
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


@each_member
def test_without_regularization_labels_are_as_they_are(member):
    needed = NEEDED.get(kind_of(member), {})
    smoothing = {"label_smoothing": 0.3} if "label_smoothing" in member.model_fields else {}
    logits, targets = torch.tensor([[2.0, 0.0, -1.0, 0.5]]), torch.tensor([0])
    bare = member(**needed, **smoothing).unregularized().build(OUTPUTS)(logits, targets)
    assert bare == member(**needed).build(OUTPUTS)(logits, targets)
