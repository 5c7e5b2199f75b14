import copy

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

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


def test_without_momentum_the_running_statistics_are_the_average_of_all_batches():
    norm = build("batch", 1, dims=0, momentum=None)
    for batch in ([[0.0], [2.0]], [[3.0], [7.0]], [[4.0], [4.0]]):
        norm(torch.tensor(batch))
    assert norm.running_mean.item() == pytest.approx((1 + 5 + 4) / 3)
    assert norm.running_var.item() == pytest.approx((2 + 8 + 0) / 3)


@pytest.mark.parametrize("dims", [0, 2])
def test_an_example_alone_gets_in_evaluation_what_it_gets_in_a_batch(dims):
    x = 3 + 2 * torch.randn(8, 16, *(5,) * dims)
    for kind in AXES if dims else ["batch", "layer", "group"]:
        norm = build(kind, dims=dims)
        norm(x)
        norm.eval()
        torch.testing.assert_close(norm(x[:1]), norm(x)[:1])


def test_in_evaluation_batch_norm_uses_the_running_statistics():
    norm = build("batch", 3, dims=0).eval()
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25, 9.0]))
    x = torch.tensor([[3.0, -1.0, 3.5]])
    torch.testing.assert_close(norm(x), torch.tensor([[1.0, 2.0, 1.0]]), rtol=1e-4, atol=1e-4)


def test_in_training_a_vector_alone_has_no_batch_statistics():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        build("batch", 3, dims=0)(torch.ones(1, 3))


@pytest.mark.parametrize("dims", [0, 2])
def test_a_frozen_batch_norm_stays_as_it_is(dims):
    live = build("batch", 4, dims=dims)
    x = 3 + 2 * torch.randn(6, 4, *(3,) * dims)
    torch.nn.init.normal_(live.weight)
    torch.nn.init.normal_(live.bias)
    live(x)
    frozen = build("batch", 4, dims=dims, frozen=True)
    assert frozen.state_dict().keys() == live.state_dict().keys()
    frozen.load_state_dict(live.state_dict())
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    for one in (frozen, torch.nn.Sequential(frozen)):
        one.train()
        assert not frozen.training
        torch.testing.assert_close(one(x), live.eval()(x))
        torch.testing.assert_close(one(x[:1]), live(x[:1]))
    assert not list(frozen.parameters())
    torch.testing.assert_close(frozen.state_dict(), before, rtol=0, atol=0)
    leaf = x.clone().requires_grad_()
    frozen(leaf).sum().backward()
    scale = frozen.weight / (frozen.running_var + frozen.eps).sqrt()
    torch.testing.assert_close(leaf.grad, scale.view(-1, *(1,) * dims).expand_as(x))


def test_a_frozen_batch_norm_takes_its_place_in_copies_and_moves():
    frozen = build("batch", 4, frozen=True)
    twin = copy.deepcopy(frozen).double()
    assert twin.weight.dtype == twin.running_mean.dtype == torch.float64
    assert not twin.train().training
    frozen.weight.fill_(7.0)
    frozen.reset_parameters()
    assert frozen.weight.unique().tolist() == [1.0]


def test_frozen_statistics_have_no_momentum():
    with pytest.raises(ValidationError, match="momentum"):
        build("batch", frozen=True, momentum=0.2)


@pytest.mark.parametrize("member", members(Norm), ids=kind_of)
def test_a_bias_is_redundant_right_before_a_norm_only(member):
    assert member.source
    assert member().position == "before"
    assert member().cancels_bias is member.normalizes
    if member.normalizes:
        assert not member(position="after").cancels_bias
        norm = member().build(16, dims=2)
        x, bias = torch.randn(4, 16, 5, 5), torch.randn(16, 1, 1)
        if member.model_fields["kind"].default in ("batch", "instance"):
            torch.testing.assert_close(norm(x + bias), norm(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "groups"), [(6, 3), (16, 8), (100, 5), (8, 4), (7, 1), (2, 1), (1, 1), (64, 8)]
)
def test_automatic_groups_are_the_most_that_divide_and_leave_two_channels(channels, groups):
    assert build("group", channels).num_groups == groups


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError, match=r"norm\.groups: 8 groups .* 6 channels.* 1, 2, 3, 6$"):
        build("group", 6, groups=8)


def test_instance_norm_needs_pixels():
    with pytest.raises(UserError, match=r"norm\.kind: instance: .* single numbers"):
        build("instance", dims=0)


@pytest.mark.parametrize(
    ("kind", "fields"), [("layer", {}), ("group", {}), ("group", {"groups": 1})]
)
def test_a_single_number_cannot_be_normalized(kind, fields):
    with pytest.raises(UserError, match=r"norm\.\w+: \w+: .* single numbers"):
        build(kind, 1, dims=0, **fields)
    with pytest.raises(UserError, match=r"norm\.groups: 8: .* single numbers"):
        build("group", 8, dims=0, groups=8)
