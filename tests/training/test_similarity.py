"""The measures of how like old and new data are, on features whose figures are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnrecipe.data.batch import Batch
from nnrecipe.training.similarity import feature_distance, probes


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("shift", "factor", "expected"), [(0.0, 1.0, 0.0), (2.0, 1.0, 2.0), (0.0, 3.0, 2.0)]
)
def test_the_distance_is_in_spreads_of_the_old_data(
    shift: float, factor: float, expected: float
) -> None:
    norm = nn.BatchNorm2d(3, momentum=None)
    old = 5 * normal(400, 3, 4, 4)
    norm(old)
    new = factor * old + 5 * shift
    assert feature_distance(nn.Sequential(norm), new) == pytest.approx(expected, abs=0.01)


def test_there_is_no_distance_without_batch_norm() -> None:
    assert feature_distance(nn.Linear(2, 2), normal(4, 2)) is None


def test_a_probe_finds_what_a_depth_keeps() -> None:
    labels = torch.arange(300) % 3
    inputs = normal(300, 3, 8, 8)
    inputs[torch.arange(300), labels] += 2.0  # a channel is brighter for each class
    blind = nn.Conv2d(8, 2, 1)
    nn.init.zeros_(blind.weight)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), blind, nn.Flatten(), nn.Linear(128, 3))
    train, held = Batch(inputs[:200], labels[:200]), Batch(inputs[200:], labels[200:])
    found = probes(network, ["0", "1"], train, held, task="single_label")
    assert [probe.path for probe in found] == ["inputs", "0", "1"]
    assert [probe.features for probe in found] == [48, 8, 2]
    assert found[0].score > 0.95
    assert found[1].score > 0.95
    assert found[2].score < 0.5


def test_values_are_probed_by_their_r2() -> None:
    inputs = normal(300, 4)
    targets = inputs @ normal(4, 2, seed=1)
    turned = nn.Linear(4, 4)
    nn.init.orthogonal_(turned.weight)  # nothing of the inputs is lost, whichever way they turn
    network = nn.Sequential(turned, nn.Linear(4, 2))
    train, held = Batch(inputs[:200], targets[:200]), Batch(inputs[200:], targets[200:])
    (whole, depth) = probes(network, ["0"], train, held, task="regression")
    assert whole.score > 0.9
    assert depth.score > 0.9
