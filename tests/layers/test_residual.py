from dataclasses import replace

import pytest
import torch
import torchvision
from torchvision.models import resnet

from nnrecipe.layers.activations import Relu
from nnrecipe.layers.dropblock import DropBlock, DropBlock2d
from nnrecipe.layers.norms import BatchNorm, NoNorm
from nnrecipe.layers.residual import (
    BasicBlock,
    BlockStyle,
    Bottleneck,
    PaddedShortcut,
    StochasticDepth,
)

BATCH = BatchNorm()
X = torch.randn(2, 8, 7, 7, generator=torch.Generator().manual_seed(0))


def style(shortcut="projection", norm=BATCH):
    return BlockStyle(norm, Relu(), shortcut)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_computes_what_torchvisions_block_does(block, stride):
    twin_class = resnet.BasicBlock if block is BasicBlock else resnet.Bottleneck
    out = 16 * block.expansion
    downsample = torch.nn.Sequential(resnet.conv1x1(8, out, stride), torch.nn.BatchNorm2d(out))
    twin = twin_class(8, 16, stride, downsample)
    ours = block(8, 16, stride=stride, style=style())
    ours.load_state_dict(twin.state_dict())
    torch.testing.assert_close(ours(X), twin(X))


def test_the_identity_shortcut_takes_every_second_pixel_and_adds_zero_channels():
    out = PaddedShortcut(new_channels=3, stride=2)(X)
    assert out.shape == (2, 11, 4, 4)
    assert torch.equal(out[:, 1:9], X[:, :, ::2, ::2])
    assert not out[:, :1].any()
    assert not out[:, 9:].any()


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_with_its_last_scale_at_zero_a_block_passes_its_shortcut_on(block, shortcut):
    built = block(8, 8, stride=2, style=style(shortcut))
    torch.nn.init.zeros_(built.last_norm.weight)
    torch.testing.assert_close(built(X), built.downsample(X).relu())


def test_an_identity_shortcut_has_no_parameters_and_is_left_out_where_the_input_fits():
    built = BasicBlock(8, 16, stride=2, style=style("identity"))
    assert not list(built.downsample.parameters())
    assert BasicBlock(8, 8, stride=1, style=style()).downsample is None


def test_convolutions_have_a_bias_only_without_a_norm():
    with_norm = dict(Bottleneck(8, 8, stride=2, style=style()).named_parameters())
    without = dict(Bottleneck(8, 8, stride=2, style=style(norm=NoNorm())).named_parameters())
    convolutions = ["conv1.bias", "conv2.bias", "conv3.bias", "downsample.0.bias"]
    assert not [name for name in convolutions if name in with_norm]
    assert [name for name in without if name.endswith("bias")] == convolutions


def test_a_norm_after_the_nonlinearity_leaves_the_bias_to_all_but_the_last_convolution():
    after = BatchNorm(position="after")
    names = dict(Bottleneck(8, 8, stride=2, style=style(norm=after)).named_parameters())
    assert [name for name in names if name.startswith("conv") and name.endswith("bias")] == [
        "conv1.bias",
        "conv2.bias",
    ]
    assert "downsample.0.bias" not in names


def test_a_norm_after_the_nonlinearity_is_computed_there():
    block = BasicBlock(8, 8, stride=1, style=style(norm=BatchNorm(position="after")))
    hidden = torch.nn.BatchNorm2d(8)(block.conv1(X).relu())
    branch = torch.nn.BatchNorm2d(8)(block.conv2(hidden))
    torch.testing.assert_close(block(X), (X + branch).relu())


def test_stochastic_depth_is_torchvisions():
    x, p = torch.randn(64, 3, 2, 2), 0.3
    torch.manual_seed(0)
    ours = StochasticDepth(p)(x)
    torch.manual_seed(0)
    assert torch.equal(ours, torchvision.ops.StochasticDepth(p, "row")(x))
    assert 0 < (ours.flatten(1) == 0).all(1).sum() < 64
    assert torch.equal(StochasticDepth(p).eval()(x), x)


def test_dropblock_is_on_each_convolution_and_on_the_shortcut():
    ours = Bottleneck(8, 8, stride=2, style=replace(style(), dropblock=DropBlock(drop=0.5)))
    zeroed = {}
    for name, module in ours.named_modules():
        if isinstance(module, DropBlock2d):
            module.register_forward_hook(
                lambda _, args, out, name=name: zeroed.update({name: (out == 0) & (args[0] != 0)})
            )
    ours(X)
    assert list(zeroed) == ["omit1.0", "omit2.0", "omit3.0", "omit_shortcut.0"]
    assert all(found.any() for found in zeroed.values())
    assert not torch.equal(zeroed["omit3.0"], zeroed["omit_shortcut.0"])
