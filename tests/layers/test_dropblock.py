"""DropBlock against a brute-force count, and against its own draws."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torchvision.ops import drop_block2d

from nnrecipe.layers.dropblock import DropBlock, DropBlock2d, corner_rate

CASES = [
    (0.3, 7, (8, 8)),
    (0.1, 5, (8, 8)),
    (0.1, 7, (14, 14)),
    (0.5, 3, (5, 9)),
    (0.25, 2, (6, 6)),
    (0.05, 3, (28, 28)),
    (0.9, 4, (9, 9)),
    (0.2, 7, (4, 4)),
    (0.1, 5, (1, 1)),
    (0.3, 1, (8, 8)),
]


def clamped(block, size):
    return min(block, size[0]), min(block, size[1])


@pytest.mark.parametrize(("share", "block", "size"), CASES, ids=str)
def test_the_expected_share_is_exact(share, block, size):
    rows, columns = clamped(block, size)
    rate = corner_rate(share, (rows, columns), size)
    log_kept = torch.zeros(size, dtype=torch.float64)
    for top in range(size[0] - rows + 1):
        for left in range(size[1] - columns + 1):
            log_kept[top : top + rows, left : left + columns] += torch.log1p(-torch.tensor(rate))
    assert 1 - log_kept.exp().mean().item() == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize(("share", "block", "size"), CASES, ids=str)
def test_the_zeroed_share_of_its_draws_is_within_1_percent(share, block, size):
    torch.manual_seed(0)
    maps = 8_000_000 // (size[0] * size[1])  # enough for a standard error of 0.3 % or less
    layer = DropBlock(drop=share, block_size=block).build()
    zeroed = (layer(torch.ones(1, maps, *size)) == 0).double().mean().item()
    assert zeroed == pytest.approx(share, rel=0.01)


def test_zeros_are_whole_blocks():
    torch.manual_seed(0)
    zeros = DropBlock2d(0.1, 3)(torch.ones(4, 8, 9, 11)) == 0
    # every zeroed pixel belongs to a block of zeros that lies wholly inside the map
    blocks = nn.functional.max_pool2d(1 - zeros.double(), 3, stride=1) == 0
    covered = nn.functional.conv_transpose2d(
        blocks.double().flatten(0, 1)[:, None], torch.ones(1, 1, 3, 3, dtype=torch.float64)
    )
    assert zeros.any()
    assert torch.equal(covered.view_as(zeros) > 0, zeros)


def test_each_channel_and_example_has_its_own_blocks():
    torch.manual_seed(0)
    zeros = DropBlock2d(0.3, 3)(torch.ones(8, 8, 16, 16)) == 0
    maps = zeros.flatten(0, 1).flatten(1)
    assert len(torch.unique(maps, dim=0)) == 64


def test_what_is_left_is_scaled_by_the_share_that_is_left():
    torch.manual_seed(0)
    x = torch.rand(4, 8, 9, 9) + 1
    out = DropBlock2d(0.3, 3)(x)
    kept = out != 0
    torch.testing.assert_close(out[kept], x[kept] * kept.numel() / kept.sum())


def test_for_blocks_of_one_pixel_it_is_dropout_with_a_counted_scale():
    torch.manual_seed(0)
    out = DropBlock2d(0.25, 1)(torch.ones(16, 64, 8, 8))
    assert out.mean().item() == pytest.approx(1, rel=1e-6)
    assert out.max().item() == pytest.approx(1 / 0.75, rel=0.02)


def test_it_drops_more_exactly_than_torchvision():
    # equation 1 of the paper, which torchvision has, leaves out that blocks overlap
    torch.manual_seed(0)
    x = torch.ones(1, 100_000, 8, 8)
    theirs = (drop_block2d(x, 0.3, 7) == 0).double().mean().item()
    ours = (DropBlock2d(0.3, 7)(x) == 0).double().mean().item()
    assert abs(ours - 0.3) < abs(theirs - 0.3)


def test_in_evaluation_and_at_a_share_of_0_it_is_the_identity():
    x = torch.randn(2, 3, 8, 8)
    assert DropBlock2d(0.5, 3).eval()(x) is x
    assert DropBlock2d(0.0, 3)(x) is x
    layer = DropBlock2d(0.5, 3)
    layer.p = 0.0  # as the stage that overfits a few examples does
    assert layer(x) is x


def test_the_seed_decides_and_nothing_left_is_no_division_by_zero():
    layer, x = DropBlock2d(0.5, 3), torch.randn(2, 3, 8, 8)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    alone = torch.stack([layer(torch.ones(1, 1, 2, 2)) for _ in range(64)])
    assert alone.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_number_formats_drop_as_much_and_keep_their_format(dtype):
    torch.manual_seed(0)
    out = DropBlock2d(0.05, 5)(torch.ones(16, 256, 14, 14, dtype=dtype))
    assert out.dtype == dtype
    assert (out == 0).double().mean().item() == pytest.approx(0.05, rel=0.03)


def test_the_gradient_goes_where_the_signal_went():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    out = DropBlock2d(0.3, 3)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (out != 0) * (out / x).max())


def test_a_number_is_the_share():
    parse = TypeAdapter(DropBlock).validate_python
    assert parse(0.2) == DropBlock(drop=0.2, block_size=5)
    assert "p=0.2, block_size=5" in repr(parse(0.2).build())
