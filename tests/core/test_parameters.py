from __future__ import annotations

import re

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import (
    ParameterRule,
    assign,
    group,
    render_table,
    standard_rules,
    weights_of,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.ln = nn.LayerNorm((3, 4, 4))
        self.act = nn.PReLU(3)
        self.fc = nn.Linear(48, 10)


def test_weights_are_kernels_matrices_and_embeddings():
    assert list(weights_of(Net())) == ["embedding.weight", "conv.weight", "fc.weight"]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((4, 3)),
        nn.RMSNorm((4, 3)),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_no_norm_has_weights(norm):
    assert list(norm.parameters())
    assert weights_of(nn.Sequential(norm)) == {}


def test_a_tied_weight_counts_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert list(weights_of(net)) == ["0.weight"]


def test_frozen_weights_are_weights_too():
    net = nn.Linear(2, 2).requires_grad_(False)
    assert list(weights_of(net)) == ["weight"]


def test_the_first_rule_that_matches_wins():
    first = ParameterRule(pattern=r"^fc\.", lr_scale=10)
    rows = assign(Net(), [first, ParameterRule(pattern="weight", lr_scale=2), rest()])
    scales = {row.path: row.rule.lr_scale for row in rows}
    assert scales["fc.weight"] == 10
    assert scales["conv.weight"] == 2
    assert scales["conv.bias"] == 1


def rest():
    return ParameterRule(pattern=".*")


def test_a_pattern_matches_anywhere_unless_tied_down():
    net = nn.ModuleDict({"conv1": nn.Conv2d(1, 1, 1), "block": Block()})
    anywhere = assign(net, [ParameterRule(pattern="conv1", freeze=True), rest()])
    assert [row.trainable for row in anywhere] == [False, False, False, False]
    tied = assign(net, [ParameterRule(pattern="^conv1", freeze=True), rest()])
    assert [row.trainable for row in tied] == [False, False, True, True]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1)


def test_an_unmatched_parameter_is_named():
    with pytest.raises(UserError, match=r"no rule matches the parameter conv\.weight"):
        assign(Net(), [ParameterRule(pattern="embedding")])


def test_equal_settings_make_one_group():
    net = Net()
    groups = group(net, standard_rules(net), lr=0.1, weight_decay=1e-4)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(0.1, 1e-4), (0.1, 0.0)]
    assert [id(p) for p in groups[0]["params"]] == [id(w) for w in weights_of(net).values()]
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))


def test_without_decay_there_is_nothing_to_tell_apart():
    net = Net()
    (only,) = group(net, standard_rules(net), lr=0.1, weight_decay=0.0)
    assert len(only["params"]) == len(list(net.parameters()))


def test_a_group_carries_its_scaled_learning_rate():
    rules = [ParameterRule(pattern="^fc", lr_scale=10), rest()]
    rates = {g["lr"]: len(g["params"]) for g in group(Net(), rules, lr=0.1, weight_decay=0)}
    assert rates == {0.1: len(list(Net().parameters())) - 2, 1.0: 2}


def test_frozen_parameters_are_in_no_group_and_need_no_gradient():
    net = Net()
    groups = group(net, standard_rules(net, ["^conv", "^embedding"]), lr=0.1, weight_decay=0)
    frozen = {path for path, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"embedding.weight", "conv.weight", "conv.bias"}
    in_groups = {id(p) for g in groups for p in g["params"]}
    assert in_groups == {id(p) for p in net.parameters() if p.requires_grad}


def test_what_the_model_froze_itself_stays_frozen():
    net = Net()
    net.conv.weight.requires_grad_(False)
    groups = group(net, standard_rules(net), lr=0.1, weight_decay=0)
    assert not net.conv.weight.requires_grad
    assert all(p is not net.conv.weight for g in groups for p in g["params"])


def test_torch_takes_the_groups():
    net = Net()
    groups = group(net, standard_rules(net), lr=0.1, weight_decay=1e-4)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.1]


def test_a_freeze_pattern_without_a_match_names_the_nearest_paths():
    message = r"transfer\.freeze: 'convv\.weight' matches no parameter: .*conv\.weight"
    with pytest.raises(UserError, match=message):
        standard_rules(Net(), ["convv.weight"])


def test_a_freeze_pattern_that_resembles_nothing_still_shows_some_paths():
    with pytest.raises(UserError, match=r"'zzz' matches no parameter: .*embedding\.weight"):
        standard_rules(Net(), ["zzz"])


def test_a_freeze_pattern_must_be_a_regex():
    with pytest.raises(UserError, match=r"transfer\.freeze: '\(' is no regex"):
        standard_rules(Net(), ["("])


def test_freezing_everything_is_refused():
    with pytest.raises(UserError, match="freezes every parameter"):
        standard_rules(Net(), ["weight", "bias"])


def test_a_model_without_trainable_parameters_is_refused():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    for model in (nn.Flatten(), frozen):
        with pytest.raises(UserError, match="no parameter is left to train"):
            group(model, standard_rules(model), lr=0.1, weight_decay=0)


def test_a_rules_pattern_must_be_a_regex():
    with pytest.raises(ValidationError, match="is no regex"):
        ParameterRule(pattern="[")


def test_the_table_has_a_row_for_every_parameter():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    rules = [ParameterRule(pattern="^2.weight", lr_scale=10), *standard_rules(net, ["^0"])]
    table = render_table(assign(net, rules)).splitlines()
    assert [re.split(" {2,}", line) for line in table] == [
        ["parameter", "shape", "training", "rule"],
        ["0.weight", "2x1x3x3", "frozen", "^0"],
        ["0.bias", "2", "frozen", "^0"],
        ["1.weight", "2", "lr x 1, no decay", "norms, biases and tokens"],
        ["1.bias", "2", "lr x 1, no decay", "norms, biases and tokens"],
        ["2.weight", "2x2", "lr x 10", "^2.weight"],
        ["2.bias", "2", "lr x 1, no decay", "norms, biases and tokens"],
    ]
    assert table[0].index("shape") == table[1].index("2x1x3x3")
