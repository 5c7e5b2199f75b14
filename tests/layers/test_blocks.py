import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.blocks import LayerStyle
from nnrecipe.layers.width import widened


def style(norm="none", activation="relu"):
    norm = TypeAdapter(Norm).validate_python(norm)
    return LayerStyle(norm, TypeAdapter(Activation).validate_python(activation))


BEFORE, AFTER = {"kind": "batch"}, {"kind": "batch", "position": "after"}


@pytest.mark.parametrize(
    ("norm", "names", "bias"),
    [("none", "act", True), (BEFORE, "norm act", False), (AFTER, "act norm", True)],
)
def test_layer_norm_and_activation_are_in_their_order(norm, names, bias):
    linear, convolution = style(norm).linear(3, 8), style(norm).convolution(3, 8, size=3)
    (fc, layer), *others = linear
    assert [fc, *(name for name, _ in others)] == ["fc", *names.split()]
    assert (layer.bias is not None) is bias
    (conv, layer), *others = convolution
    assert [conv, *(name for name, _ in others)] == ["conv", *names.split()]
    assert (layer.bias is not None) is bias
    assert dict(style(norm).linear(3, 8, bias=True))["fc"].bias is not None
    assert dict(style(norm).linear(3, 8, bias=False))["fc"].bias is None


@pytest.mark.parametrize("norm", ["none", BEFORE, AFTER])
def test_maxout_gets_as_many_channels_as_it_needs(norm):
    maxout = style(norm, {"kind": "maxout", "pieces": 3})
    linear, convolution = dict(maxout.linear(5, 8)), dict(maxout.convolution(5, 8, size=3))
    assert linear["fc"].out_features == convolution["conv"].out_channels == 24
    if norm != "none":
        assert linear["norm"].num_features == (24 if norm is BEFORE else 8)
    assert nn.Sequential(*linear.values())(torch.randn(4, 5)).shape == (4, 8)
    assert nn.Sequential(*convolution.values())(torch.randn(4, 5, 6, 6)).shape == (4, 8, 4, 4)


def test_a_convolution_has_the_shape_that_it_is_given():
    (_, layer), *_ = style().convolution(3, 8, size=5, stride=2, padding=1)
    assert (layer.kernel_size, layer.stride, layer.padding) == ((5, 5), (2, 2), (1, 1))


def test_a_width_rounds_and_leaves_one_unit():
    assert [widened(6, factor) for factor in (0.5, 0.4, 2.0, 1e-9)] == [3, 2, 12, 1]
