"""AlexNet against torchvision's, and in its form for small images."""

import pytest
import torch
import torchvision
from torch import nn

from nnrecipe.architectures.alexnet import AlexNet
from nnrecipe.architectures.summary import blueprint, summarize
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.activations import Maxout
from nnrecipe.layers.dropblock import DropBlock, DropBlock2d
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm

IMAGENET = (3, 224, 224)


def plan(inputs=IMAGENET, classes=1000, *, hidden=None, **fields):
    return blueprint(AlexNet(**fields), inputs, OutputSpec(classes), hidden=hidden or Hidden())


def kinds(model):
    return [type(module) for module in model.modules() if not any(module.children())]


def rates(model):
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]


def test_every_parameter_has_the_name_and_shape_of_torchvisions():
    with torch.device("meta"):
        theirs = torchvision.models.alexnet()
    shapes = {name: tensor.shape for name, tensor in plan().state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert sum(shape.numel() for shape in shapes.values()) == 61_100_840


def test_it_computes_what_torchvisions_does():
    torch.manual_seed(0)
    ours = AlexNet(width=1.0).build((3, 64, 64), OutputSpec(7), hidden=Hidden()).eval()
    theirs = torchvision.models.alexnet(num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_form_for_small_images_by_hand():
    convolutions = [(3, 64, 25), (64, 192, 25), (192, 384, 9), (384, 256, 9), (256, 256, 9)]
    linear = [(256 * 2 * 2, 512), (512, 512), (512, 10)]
    expected = sum(i * o * k + o for i, o, k in convolutions) + sum(i * o + o for i, o in linear)
    model = plan((3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == expected
    pooled = [r.output_shape[2] for r in summarize(model, (3, 32, 32)) if "Pool" in r.name]
    assert pooled == [16, 8, 4, 2]


@pytest.mark.parametrize("inputs", [(1, 16, 16), (3, 28, 28), (3, 32, 48), (3, 64, 64)], ids=str)
def test_images_of_any_size_from_16_pixels_on(inputs):
    model = AlexNet(width=0.1).build(inputs, OutputSpec(5), hidden=Hidden())
    assert model(torch.randn(2, *inputs)).shape == (2, 5)


def test_the_form_follows_the_size_unless_it_is_given():
    assert plan((3, 63, 63)).features[0].kernel_size == (5, 5)
    assert plan((3, 64, 64)).features[0].kernel_size == (11, 11)
    assert plan((3, 224, 224), form="cifar").features[0].kernel_size == (5, 5)
    assert plan((3, 63, 63), form="imagenet").features[0].kernel_size == (11, 11)


def test_too_small_images_are_refused():
    with pytest.raises(UserError, match=r"architecture\.kind: alexnet: .* 16x16 .* has 15x20: set"):
        AlexNet().check_inputs((3, 15, 20))
    with pytest.raises(UserError, match=r"architecture\.form: imagenet .* 63x63 .* has 32x32: use"):
        AlexNet(form="imagenet").check_inputs((3, 32, 32))
    with pytest.raises(UserError, match="alexnet needs images"):
        AlexNet().check_inputs((64,))


def test_dropout_is_in_the_classifier():
    assert rates(plan()) == [0.5, 0.5]
    assert rates(plan((3, 32, 32))) == [0.0, 0.0]
    assert rates(plan(hidden=Hidden(dropout=Dropout(drop=0.2)))) == [0.2, 0.2]
    assert rates(plan((3, 32, 32), hidden=Hidden(dropout=Dropout(keep=(0.9, 0.5))))) == [
        pytest.approx(0.1),
        0.5,
    ]


def test_a_norm_goes_with_each_convolution():
    before = plan(hidden=Hidden(norm=BatchNorm()))
    assert kinds(before)[:4] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    after = plan(hidden=Hidden(norm=BatchNorm(position="after")))
    assert kinds(after)[:4] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]
    assert [kinds(model).count(nn.BatchNorm2d) for model in (before, after)] == [5, 5]
    assert before.features[0].bias is None
    assert after.features[0].bias is not None


def test_dropblock_follows_the_last_three_convolutions_and_renames_nothing():
    model = plan(hidden=Hidden(dropblock=DropBlock(drop=0.2)))
    assert kinds(model).count(DropBlock2d) == 3
    assert kinds(model).index(DropBlock2d) > kinds(model).index(nn.MaxPool2d) + 3
    assert model.state_dict().keys() == plan().state_dict().keys()


def test_width_is_a_factor_on_every_hidden_layer():
    layers = [m for m in plan(width=0.5).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    counts = [*(c.out_channels for c in layers[:5]), *(fc.out_features for fc in layers[5:])]
    assert counts == [32, 96, 192, 128, 128, 2048, 2048, 1000]
    assert plan(width=1e-6).features[0].out_channels == 1


def test_maxout_has_its_pieces_in_the_layer_before_it():
    model = plan((3, 32, 32), 10, activation=Maxout(pieces=3))
    assert model.features[0].out_channels == 3 * 64
    assert model.features[3].in_channels == 64


def test_there_are_no_blocks_to_skip():
    with pytest.raises(UserError, match=r"^regularization\.stochastic_depth: .* no residual b"):
        plan(hidden=Hidden(stochastic_depth=0.1))
