"""The levels of a network, from its inputs to its head."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from nnrecipe.core.depth import levels

EXPECTED = {
    "resnet18": ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"],
    "vgg11_bn": [
        *(f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)),
        *(f"classifier.{i}" for i in (0, 3, 6)),
    ],
    "vit_b_16": [
        *("", "conv_proj", "encoder"),
        *(f"encoder.layers.encoder_layer_{i}" for i in range(12)),
        "heads.head",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_levels_are_layers_and_blocks_in_order(name: str) -> None:
    with torch.device("meta"):
        network = models.get_model(name)
    found = levels(network)
    assert [level.path for level in found] == EXPECTED[name]
    paths = [path for level in found for path in level.parameters]
    assert sorted(paths) == sorted(path for path, _ in network.named_parameters())


def test_a_norm_belongs_to_the_layer_before_it() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    first, head = levels(network)
    assert first.modules == ("0", "1")
    assert first.parameters == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert (head.path, head.parameters) == ("3", ("3.weight", "3.bias"))


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(2, 2))
    assert [level.path for level in levels(network)] == ["0", "3"]
