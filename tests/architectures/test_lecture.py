"""The lecture's tables, row by row, and the papers' parameter counts."""

import pytest
from pydantic import TypeAdapter
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint, render, summarize
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers import Norm
from nnrecipe.layers.hidden import Hidden

LENET5 = """
Conv2d-1     [-1, 6, 28, 28]    156
ReLU-2       [-1, 6, 28, 28]    0
MaxPool2d-3  [-1, 6, 14, 14]    0
Conv2d-4     [-1, 16, 10, 10]   2,416
ReLU-5       [-1, 16, 10, 10]   0
MaxPool2d-6  [-1, 16, 5, 5]     0
Flatten-7    [-1, 400]          0
Linear-8     [-1, 120]          48,120
ReLU-9       [-1, 120]          0
Linear-10    [-1, 84]           10,164
ReLU-11      [-1, 84]           0
Linear-12    [-1, 10]           850
"""

VGG16 = """
Conv2d-1              [-1, 64, 224, 224]   1,792
ReLU-2                [-1, 64, 224, 224]   0
Conv2d-3              [-1, 64, 224, 224]   36,928
ReLU-4                [-1, 64, 224, 224]   0
MaxPool2d-5           [-1, 64, 112, 112]   0
Conv2d-6              [-1, 128, 112, 112]  73,856
ReLU-7                [-1, 128, 112, 112]  0
Conv2d-8              [-1, 128, 112, 112]  147,584
ReLU-9                [-1, 128, 112, 112]  0
MaxPool2d-10          [-1, 128, 56, 56]    0
Conv2d-11             [-1, 256, 56, 56]    295,168
ReLU-12               [-1, 256, 56, 56]    0
Conv2d-13             [-1, 256, 56, 56]    590,080
ReLU-14               [-1, 256, 56, 56]    0
Conv2d-15             [-1, 256, 56, 56]    590,080
ReLU-16               [-1, 256, 56, 56]    0
MaxPool2d-17          [-1, 256, 28, 28]    0
Conv2d-18             [-1, 512, 28, 28]    1,180,160
ReLU-19               [-1, 512, 28, 28]    0
Conv2d-20             [-1, 512, 28, 28]    2,359,808
ReLU-21               [-1, 512, 28, 28]    0
Conv2d-22             [-1, 512, 28, 28]    2,359,808
ReLU-23               [-1, 512, 28, 28]    0
MaxPool2d-24          [-1, 512, 14, 14]    0
Conv2d-25             [-1, 512, 14, 14]    2,359,808
ReLU-26               [-1, 512, 14, 14]    0
Conv2d-27             [-1, 512, 14, 14]    2,359,808
ReLU-28               [-1, 512, 14, 14]    0
Conv2d-29             [-1, 512, 14, 14]    2,359,808
ReLU-30               [-1, 512, 14, 14]    0
MaxPool2d-31          [-1, 512, 7, 7]      0
AdaptiveAvgPool2d-32  [-1, 512, 7, 7]      0
Linear-33             [-1, 4096]           102,764,544
ReLU-34               [-1, 4096]           0
Dropout-35            [-1, 4096]           0
Linear-36             [-1, 4096]           16,781,312
ReLU-37               [-1, 4096]           0
Dropout-38            [-1, 4096]           0
Linear-39             [-1, 1000]           4,097,000
"""


def rows_of(architecture, inputs, classes=10, *, norm=None):
    spec = TypeAdapter(Architecture).validate_python(architecture)
    norm = TypeAdapter(Norm).validate_python(norm or spec.default_norm)
    return summarize(blueprint(spec, inputs, OutputSpec(classes), hidden=Hidden(norm)), inputs)


def parameters_of(*args, **kwargs):
    return sum(row.parameters for row in rows_of(*args, **kwargs))


@pytest.mark.parametrize(
    ("table", "architecture", "inputs", "classes", "total"),
    [
        (LENET5, "lenet5", (1, 28, 28), 10, "61,706"),
        (VGG16, {"kind": "vgg", "depth": 16}, (3, 224, 224), 1000, "138,357,544"),
    ],
    ids=["lenet5", "vgg16"],
)
def test_the_lectures_table(table, architecture, inputs, classes, total):
    rows = rows_of(architecture, inputs, classes)
    lines = [line.split(maxsplit=1) for line in table.strip().splitlines()]
    expected = [(name, *rest.rsplit(maxsplit=1)) for name, rest in lines]
    assert [(r.name, str(list(r.output_shape)), f"{r.parameters:,}") for r in rows] == [
        (name, shape.strip(), count) for name, shape, count in expected
    ]
    assert f"Total parameters: {total}" in render(rows)


def test_lenet_5_takes_32_pixels_without_padding():
    assert rows_of("lenet5", (1, 32, 32))[3:] == rows_of("lenet5", (1, 28, 28))[3:]
    assert parameters_of("lenet5", (1, 32, 32)) == 61_706
    assert parameters_of("lenet5", (3, 32, 32)) == 61_706 + 2 * 6 * 25


def test_lenet_5_of_1998():
    rows = rows_of({"kind": "lenet5", "activation": "tanh", "pool": "avg"}, (1, 32, 32))
    assert [row.name for row in rows[:3]] == ["Conv2d-1", "Tanh-2", "AvgPool2d-3"]
    assert sum(row.parameters for row in rows) == 61_706


def cifar_resnet(depth):
    """The parameters by section 4.2 of He et al. 2016: 2n convolutions of 3x3 in each stage."""
    n = (depth - 2) // 6

    def convolution(before, after):
        return 9 * before * after + 2 * after

    stages = [(16, 16), (16, 32), (32, 64)]
    body = sum(convolution(a, b) + (2 * n - 1) * convolution(b, b) for a, b in stages)
    return convolution(3, 16) + body + 64 * 10 + 10


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")]
)
def test_cifar_resnets_have_the_papers_sizes(depth, millions):
    total = cifar_resnet(depth)
    assert f"{total / 1e6:.{len(millions) - 2}f}" == millions  # table 6
    assert parameters_of({"kind": "resnet", "depth": depth}, (3, 32, 32)) == total


def test_a_cifar_resnet_has_6n_plus_2_layers():
    assert cifar_resnet(20) == 269_722
    for depth in range(8, 111, 6):
        if depth != 50:  # the ImageNet form, which torchvision has
            found = parameters_of({"kind": "resnet", "depth": depth}, (3, 32, 32))
            assert found == cifar_resnet(depth)


def test_a_projection_shortcut_adds_two_1x1_convolutions_and_their_norms():
    projected = {"kind": "resnet", "depth": 20, "shortcut": "projection"}
    extra = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert parameters_of(projected, (3, 32, 32)) == 269_722 + extra


def test_the_lectures_two_layer_net():
    rows = rows_of({"kind": "mlp", "widths": [50]}, (3, 32, 32))
    assert [row.name for row in rows] == ["Flatten-1", "Linear-2", "ReLU-3", "Linear-4"]
    assert sum(row.parameters for row in rows) == 3072 * 50 + 50 + 50 * 10 + 10


def test_the_width_is_a_factor_on_every_hidden_layer():
    inputs = (3, 64, 64)
    for kind in ("mlp", "lenet5", "vgg", "resnet"):
        spec = TypeAdapter(Architecture).validate_python(kind)
        hidden = outputs_of(spec, inputs)
        for width in (0.3, 0.5, 3.0, 1e-6):
            wide = spec.model_copy(update={"width": width})
            assert outputs_of(wide, inputs) == [max(1, round(width * units)) for units in hidden]


def outputs_of(spec, inputs):
    """The outputs of every layer with weights but the last."""
    model = blueprint(spec, inputs, OutputSpec(10), hidden=Hidden())
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [len(layer.weight) for layer in layers[:-1]]


def test_the_depth_repeats_each_hidden_layer():
    spec = TypeAdapter(Architecture).validate_python({"kind": "mlp", "widths": [7, 5], "depth": 3})
    assert outputs_of(spec, (4,)) == [7, 7, 7, 5, 5, 5]
    deep = {"kind": "mlp", "widths": [100], "depth": 20}
    assert parameters_of(deep, (4,)) == 500 + 19 * 10_100 + 1010


def test_vgg_has_a_small_head_for_small_images():
    rows = rows_of({"kind": "vgg", "depth": 11}, (3, 32, 32))
    assert rows[-1].parameters == 512 * 10 + 10
    assert rows[-3].output_shape == (-1, 512, 1, 1)
    imagenet = rows_of({"kind": "vgg", "depth": 11, "form": "imagenet"}, (3, 32, 32))
    assert imagenet[-1].parameters == 4096 * 10 + 10
