"""Functions swapped from outside, in modules and in plain calls alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.layers.dropblock import DropBlock2d
from nnrecipe.layers.interventions import DropoutOff, Rectified, without_dropout

X = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "drop",
    [
        nn.Dropout(0.9),
        nn.Dropout2d(0.9),
        nn.AlphaDropout(0.9),
        lambda x: F.dropout(x, 0.9),
        lambda x: F.dropout(x, p=0.9, training=True),
        lambda x: torch.dropout(x, 0.9, True),
    ],
)
def test_nothing_is_dropped(drop) -> None:
    assert not torch.equal(drop(X), X)
    with DropoutOff() as off:
        assert torch.equal(drop(X), X)
    assert off.strongest == 0.9
    assert not torch.equal(drop(X), X)


def test_dropout_in_evaluation_is_none() -> None:
    with DropoutOff() as off:
        nn.Dropout(0.9).eval()(X)
        F.dropout(X, 0.9, training=False)
    assert off.strongest == 0.0


def test_attention_drops_nothing() -> None:
    attention = nn.MultiheadAttention(6, 2, dropout=0.9, batch_first=True).train()
    x = X.flatten(2).transpose(1, 2)
    with DropoutOff():
        first, second = (attention(x, x, x, need_weights=False)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_blocks_are_dropped_by_modules_alone() -> None:
    model = without_dropout(nn.Sequential(DropBlock2d(0.5, 3), nn.Dropout(0.5)).train())
    assert torch.equal(model(X), X)


@pytest.mark.parametrize("squash", [nn.Sigmoid(), nn.Tanh(), torch.sigmoid, torch.Tensor.tanh])
def test_squashing_functions_become_relu(squash) -> None:
    with Rectified() as watch:
        assert torch.equal(squash(X), X.relu())
    assert watch.replaced == 1
    assert not torch.equal(squash(X), X.relu())
