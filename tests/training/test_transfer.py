"""What each strategy trains, at which rate, and what stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nnrecipe.architectures.resnet import ResNet
from nnrecipe.core.parameters import assign, group
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.layers.stages import StageClassifier, features_at
from nnrecipe.training.transfer import TransferSpec, taps

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
BODY = ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2))]


def arranged(**given: Any) -> tuple[TransferSpec, nn.Module]:
    torch.manual_seed(0)
    spec = TransferSpec(**given)
    network = ResNet(depth=20).build((3, 16, 16), OutputSpec(5), hidden=Hidden(norm=BatchNorm()))
    return spec, spec.arrange(network, IMAGES, outputs=5)


def trained(spec: TransferSpec, model: nn.Module) -> set[str]:
    """The levels of which something is trained."""
    rows = [row for row in assign(model, spec.rules(model)) if row.trainable]
    return {row.path.split(".")[0] if "layer" not in row.path else row.path[:8] for row in rows}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"strategy": "linear_probe"}, {"fc"}),
        ({"strategy": "last_n"}, {"fc", "layer3.2"}),
        ({"strategy": "last_n", "layers": 4}, {"fc", "layer3.2", "layer3.1", "layer3.0"}),
        ({"strategy": "stages"}, {"fc"}),
        ({"strategy": "full"}, {"bn1", "fc", *BODY}),
        ({"strategy": "full", "freeze": ["^layer", "^bn1"]}, {"conv1", "fc"}),
    ],
    ids=lambda value: str(value.get("strategy")) if isinstance(value, dict) else "",
)
def test_a_strategy_trains_its_layers(given: Any, expected: set[str]) -> None:
    assert trained(*arranged(**given)) == expected


def test_the_rate_falls_with_the_distance_from_the_head() -> None:
    spec, model = arranged(strategy="last_n", layers=3, lr_decay=0.5)
    groups = group(model, spec.rules(model), lr=0.1, weight_decay=0.01)
    by_rate = {(g["lr"], g["weight_decay"]): {id(p) for p in g["params"]} for g in groups}
    layers = {0.1: model.fc, 0.05: model.layer3[2], 0.025: model.layer3[1]}
    for rate, layer in layers.items():
        weights = {id(p) for p in layer.parameters() if p.ndim > 1}
        assert by_rate[rate, 0.01] == weights
        assert by_rate[rate, 0.0] == {id(p) for p in layer.parameters()} - weights


@pytest.mark.parametrize(
    ("batch_norm", "moving"), [("auto", {"layer3.2"}), ("frozen", set()), ("train", {"bn1", *BODY})]
)
def test_statistics_of_batch_norm_stay_or_move(batch_norm: Any, moving: set[str]) -> None:
    _spec, model = arranged(strategy="last_n", batch_norm=batch_norm)
    norms = {p: m for p, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {path: norm.running_mean.clone() for path, norm in norms.items()}
    keys = list(model.state_dict())
    model.train()(IMAGES)
    moved = {path for path, norm in norms.items() if not norm.running_mean.equal(before[path])}
    assert {p[:8] if "layer" in p else p for p in moved} == moving - {"conv1"}
    assert all(norm.weight.requires_grad for norm in norms.values())
    plain = ResNet(depth=20).build((3, 16, 16), OutputSpec(5), hidden=Hidden(norm=BatchNorm()))
    assert list(plain.state_dict()) == keys


def test_layers_are_unfrozen_from_the_head_on() -> None:
    spec, model = arranged(strategy="last_n", layers=3, unfreeze=2)
    group(model, spec.rules(model), lr=0.1, weight_decay=0.0)
    found = []
    for epoch in range(1, 8):
        spec.thaw(model, epoch)
        found.append(
            {p[:8] for p, parameter in model.named_parameters() if parameter.requires_grad}
        )
    head, one, two = {"fc.weigh", "fc.bias"}, {"layer3.2"}, {"layer3.1"}
    assert found == [head, head, *[head | one] * 2, *[head | one | two] * 3]
    spec.thaw(model, 1)  # as a resumed training may ask
    assert {p for p, parameter in model.named_parameters() if parameter.requires_grad} == {
        "fc.weight",
        "fc.bias",
    }


def test_what_is_declared_frozen_is_never_unfrozen() -> None:
    spec, model = arranged(strategy="full", unfreeze=1, freeze=["^layer3.2"])
    spec.rules(model)
    spec.thaw(model, 99)
    group(model, spec.rules(model), lr=0.1, weight_decay=0.0)
    spec.thaw(model, 99)
    assert not any(parameter.requires_grad for parameter in model.layer3[2].parameters())


def test_stages_classifies_the_means_of_feature_maps() -> None:
    _, model = arranged(strategy="stages")
    assert isinstance(model, StageClassifier)
    paths = ["bn1", "layer1.2", "layer2.2", "layer3.2"]
    assert list(model.paths) == taps(model.trunk) == paths
    trunk = model.trunk.eval()
    x = trunk.bn1(trunk.conv1(IMAGES))
    means = [x.mean((2, 3))]
    x = trunk.act1(x)
    for stage in (trunk.layer1, trunk.layer2, trunk.layer3):
        x = stage(x)
        means.append(x.mean((2, 3)))
    for ours, theirs in zip(features_at(trunk, paths, IMAGES), means, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    rows = torch.cat(means, 1)
    spread = rows.var(0, correction=0, keepdim=True)
    expected = model.fc((rows - rows.mean(0)) / (spread + model.norm.eps).sqrt())
    before = {key: value.clone() for key, value in model.trunk.state_dict().items()}
    assert torch.allclose(model.train()(IMAGES), expected, atol=1e-5)
    assert all(value.equal(before[key]) for key, value in model.trunk.state_dict().items())


@pytest.mark.parametrize(
    "given", [{"layers": 3}, {"lr_decay": 0.5}, {"unfreeze": 1}, {"batch_norm": "frozen"}]
)
def test_settings_want_a_strategy(given: Any) -> None:
    with pytest.raises(ValidationError, match="none, and settings of a strategy beside it"):
        TransferSpec(**given)
    assert TransferSpec(strategy="full", **given)
