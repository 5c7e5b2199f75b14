from __future__ import annotations

import pytest
import torch
from torch import nn

from nnrecipe.regularization import limit_norms


def weights():
    torch.manual_seed(0)
    return [torch.randn(20, 50), torch.randn(8, 3, 5, 5), 1e-3 * torch.randn(4, 6)]


@pytest.mark.parametrize("largest", [0.5, 3.0, 7.0, 100.0])
def test_it_is_torchs_renorm(largest):
    limited = weights()
    limit_norms(limited, largest)
    for found, weight in zip(limited, weights(), strict=True):
        expected = torch.renorm(weight, p=2, dim=0, maxnorm=largest)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_by_hand():
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    limit_norms([weight], 1.0)
    torch.testing.assert_close(weight, torch.tensor([[0.6, 0.8], [0.3, 0.4]]), rtol=1e-6, atol=0)


def test_no_units_norm_is_above_the_bound_and_shorter_ones_stay():
    limited, before = weights(), weights()
    limit_norms(limited, 7.0)
    for found, weight in zip(limited, before, strict=True):
        norms = weight.flatten(1).norm(dim=1)
        assert (found.flatten(1).norm(dim=1) <= 7.0 + 1e-5).all()
        assert torch.equal(found[norms <= 7.0], weight[norms <= 7.0])


def test_it_is_done_in_place_and_without_a_trace_in_the_graph():
    layer = nn.Linear(5, 3)
    nn.init.constant_(layer.weight, 2.0)
    address = layer.weight.data_ptr()
    limit_norms([layer.weight], 1.0)
    assert layer.weight.data_ptr() == address
    assert layer.weight.is_leaf
    assert layer.weight.norm(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_channels_last_kernels_are_bounded_alike():
    kernel = torch.randn(8, 3, 5, 5)
    strided = kernel.contiguous(memory_format=torch.channels_last)
    limit_norms([kernel, strided], 1.0)
    torch.testing.assert_close(strided, kernel)
