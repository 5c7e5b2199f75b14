from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.regularization import EarlyStopping, Mixing, Penalty, Regularization, penalized


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    ).double()


def test_the_penalty_by_hand(net):
    weights = [net[0].weight, net[4].weight]
    expected = 0.5 * sum((w**2).sum() for w in weights) + 0.2 * sum(w.abs().sum() for w in weights)
    torch.testing.assert_close(Penalty(l1=0.2, l2=0.5)(net), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("penalty", "gradient"),
    [
        (Penalty(l2=0.5), lambda w: 2 * 0.5 * w),
        (Penalty(l1=0.2), lambda w: 0.2 * w.sign()),
        (Penalty(l1=0.2, l2=0.5), lambda w: 2 * 0.5 * w + 0.2 * w.sign()),
    ],
    ids=["l2", "l1", "both"],
)
def test_the_gradient_by_hand_and_on_weights_only(net, penalty, gradient):
    penalty(net).backward()
    for name, parameter in net.named_parameters():
        if name in ("0.weight", "4.weight"):
            expected = gradient(parameter.detach())
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=0)
        else:
            assert parameter.grad is None


def test_the_lectures_figure():
    """A net 3072-50-10 with weights 1e-4 N(0,1): the slide's loss rises by about 0.77."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3072, 50), nn.Linear(50, 10))
    for layer in layers:
        nn.init.normal_(layer.weight, std=1e-4)
    count = 3072 * 50 + 50 * 10
    expected = 500 * count * 1e-8  # l2 * E[sum(W^2)]
    assert Regularization(l2=500).penalty()(layers).item() == pytest.approx(expected, rel=0.02)


def test_float32_is_as_exact_as_float32_allows(net):
    exact = Penalty(l1=0.2, l2=0.5)(net).item()
    assert Penalty(l1=0.2, l2=0.5)(net.float()).item() == pytest.approx(exact, rel=1e-5)


def test_channels_last_weights_cost_the_same(net):
    before = Penalty(l2=0.5)(net)
    torch.testing.assert_close(Penalty(l2=0.5)(net.to(memory_format=torch.channels_last)), before)


def test_frozen_weights_cost_nothing(net):
    net[0].weight.requires_grad_(False)
    assert [w is net[4].weight for w in penalized(net)] == [True]
    torch.testing.assert_close(Penalty(l2=1)(net), (net[4].weight ** 2).sum())


def test_weights_at_hand_give_the_same_as_the_model(net):
    penalty = Penalty(l1=0.2, l2=0.5)
    assert torch.equal(penalty.of(penalized(net)), penalty(net))


def test_the_two_parts_add_up(net):
    torch.testing.assert_close(
        Penalty(l1=0.2)(net) + Penalty(l2=0.5)(net), Penalty(l1=0.2, l2=0.5)(net)
    )


def test_no_penalty_is_zero_and_inactive(net):
    assert Penalty()(net).item() == 0
    assert not Penalty().active
    assert Penalty(l1=1).active
    assert Penalty(l2=1).active


def test_a_model_without_weights_has_none_to_penalize():
    assert Penalty(l1=1, l2=1)(nn.BatchNorm1d(3)).item() == 0


def test_weight_decay_of_twice_l2_is_l2(net):
    """What the docstring of Regularization promises."""
    weight = net[4].weight
    start = weight.detach().clone()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    Penalty(l2=0.05)(nn.Sequential(net[4])).backward()
    optimizer.step()
    penalized_step = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(start)
    weight.grad = torch.zeros_like(weight)
    torch.optim.SGD([weight], lr=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(weight.detach(), penalized_step)


def test_decoupled_decay_is_no_penalty(net):
    """What the docstring of Regularization promises: adamw shrinks all weights at one rate."""
    weight = net[4].weight
    start = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    torch.optim.AdamW([weight], lr=0.1, weight_decay=0.2).step()
    torch.testing.assert_close(weight.detach(), start * (1 - 0.1 * 0.2))


def test_adam_takes_a_penaltys_size_away(net):
    """What the docstring of Regularization promises: a first step is of size lr, whatever W is."""
    weight = net[4].weight
    start = weight.detach().clone()
    Penalty(l2=0.05)(nn.Sequential(net[4])).backward()
    torch.optim.Adam([weight], lr=1e-3).step()
    torch.testing.assert_close(weight.detach(), start - 1e-3 * start.sign(), rtol=0, atol=1e-6)


def test_the_spec_builds_its_penalty_and_is_off_by_default():
    assert Regularization(l1=0.1, l2=0.2).penalty() == Penalty(l1=0.1, l2=0.2)
    assert not Regularization().penalty().active
    assert not Regularization().mixing()
    assert set(Regularization().model_dump().values()) == {0.0, None}


def test_the_spec_builds_its_mixing():
    assert Regularization(mixup=0.2, cutmix=1.0).mixing() == Mixing(mixup=0.2, cutmix=1.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (0.5, Dropout(drop=0.5)),
        (0, Dropout(drop=0.0)),
        ([0.1, 0.5], Dropout(drop=(0.1, 0.5))),
        ({"keep": 0.8, "force": True}, Dropout(keep=0.8, force=True)),
    ],
    ids=str,
)
def test_dropout_is_a_number_a_list_or_spelled_out(given, expected):
    assert Regularization.model_validate({"dropout": given}).dropout == expected


def test_the_resolved_section_says_everything_and_can_be_read_back():
    given = {
        "dropout": 0.5,
        "dropblock": {"drop": 0.2},
        "mixup": 0.2,
        "max_norm": 3.0,
        "early_stopping": {"monitor": "val_f1"},
    }
    spec = Regularization.model_validate(given)
    dump = spec.model_dump(mode="json")
    assert dump["dropout"] == {"drop": 0.5, "keep": None, "force": False}
    assert dump["dropblock"] == DropBlock(drop=0.2).model_dump()
    assert (dump["mixup"], dump["cutmix"], dump["max_norm"]) == (0.2, 0.0, 3.0)
    assert Regularization.model_validate(dump) == spec


def test_early_stopping_has_its_defaults():
    given = Regularization.model_validate({"early_stopping": {"patience": 3}}).early_stopping
    assert given == EarlyStopping(patience=3, min_delta=0.0, monitor="val_loss")


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy", "val_f1", "val_r2"])
def test_early_stopping_watches_a_figure_of_any_task(monitor):
    assert EarlyStopping(monitor=monitor).monitor == monitor


@pytest.mark.parametrize(
    "wrong",
    [
        {"l1": -1e-3},
        {"l2": -1e-3},
        {"l2": "1e-3"},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropblock": 1.0},
        {"stochastic_depth": 1.0},
        {"mixup": -0.1},
        {"mixup": 0.001},
        {"mixup": True},
        {"cutmix": "0.2"},
        {"max_norm": 0.0},
        {"early_stopping": {"patience": 0}},
        {"early_stopping": {"monitor": "train_loss"}},
        {"early_stopping": {"min_delta": -1}},
        {"early_stopping": True},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        Regularization.model_validate(wrong)
