import pytest
import torch
from torchvision.models import resnet

from nnrecipe.layers.activations import Relu
from nnrecipe.layers.norms import BatchNorm, NoNorm
from nnrecipe.layers.residual import BasicBlock, BlockStyle, Bottleneck, PaddedShortcut

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
