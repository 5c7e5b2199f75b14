import pytest
import torch
from pydantic import TypeAdapter

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.layers import Norm

# Over which axes of [N, groups, channels of a group, H, W] a norm takes its mean and variance.
AXES = {"batch": (0, 2, 3, 4), "layer": (2, 3, 4), "group": (2, 3, 4), "instance": (3, 4)}
GROUPS = {"batch": 16, "layer": 1, "group": 8, "instance": 16}


def build(kind, channels=16, *, dims=2, **fields):
    return TypeAdapter(Norm).validate_python({"kind": kind, **fields}).build(channels, dims=dims)


@pytest.mark.parametrize("kind", AXES)
def test_images_come_out_with_zero_mean_and_unit_variance_over_its_axes(kind):
    x = 3 + 2 * torch.randn(4, 16, 5, 6, generator=torch.Generator().manual_seed(0))
    out = build(kind)(x)
    assert out.shape == x.shape
    groups = out.detach().reshape(4, GROUPS[kind], -1, 5, 6)
    torch.testing.assert_close(
        groups.mean(AXES[kind]), torch.zeros(()).expand_as(groups.mean(AXES[kind]))
    )
    variance = groups.var(AXES[kind], correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "axis"), [("batch", 0), ("layer", 1)])
def test_vectors_come_out_with_zero_mean_and_unit_variance(kind, axis):
    x = 3 + 2 * torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    out = build(kind, 32, dims=0)(x).detach()
    mean, variance = out.mean(axis), out.var(axis, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-3, atol=1e-4)


def test_no_norm_is_the_identity():
    x = torch.randn(2, 3)
    assert build("none", 3, dims=0)(x) is x


@pytest.mark.parametrize("member", members(Norm), ids=kind_of)
def test_scale_and_shift_are_per_channel(member):
    parameters = [tuple(p.shape) for p in member().build(16, dims=2).parameters()]
    assert parameters == ([(16,), (16,)] if member.normalizes else [])


def test_batch_norm_keeps_running_statistics_by_its_momentum():
    norm = build("batch", 1, dims=0, momentum=0.25, eps=1e-3)
    norm(torch.tensor([[2.0], [6.0]]))
    assert norm.running_mean.item() == pytest.approx(0.25 * 4)
    assert norm.running_var.item() == pytest.approx(0.75 + 0.25 * 8)
    assert norm.eps == 1e-3


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError, match=r"norm\.groups: 8 groups .* 6 channels.* 1, 2, 3, 6$"):
        build("group", 6)


def test_instance_norm_needs_pixels():
    with pytest.raises(UserError, match=r"norm\.kind: instance averages over pixels"):
        build("instance", dims=0)
