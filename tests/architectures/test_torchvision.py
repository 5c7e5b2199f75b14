"""The ImageNet forms are torchvision's, to the parameter and to the number."""

import pytest
import torch
import torchvision
from pydantic import TypeAdapter

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint, summarize
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm, NoNorm

IMAGENET = (3, 224, 224)
TWINS = {
    **{f"vgg{depth}": ("vgg", depth, NoNorm()) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": ("vgg", depth, BatchNorm()) for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": ("resnet", depth, BatchNorm()) for depth in (18, 34, 50, 101, 152)},
}


def ours(twin, inputs=IMAGENET, classes=1000, *, norm=None):
    kind, depth, own = TWINS[twin]
    spec = TypeAdapter(Architecture).validate_python({"kind": kind, "depth": depth})
    return blueprint(spec, inputs, OutputSpec(classes), hidden=Hidden(norm or own))


def theirs(twin, **settings):
    with torch.device("meta"):
        return torchvision.models.get_model(twin, **settings)


@pytest.mark.parametrize("twin", TWINS)
def test_every_parameter_and_buffer_has_the_name_and_shape_of_torchvisions(twin):
    shapes = {name: tensor.shape for name, tensor in ours(twin).state_dict().items()}
    assert shapes == {name: t.shape for name, t in theirs(twin).state_dict().items()}


@pytest.mark.parametrize("twin", ["vgg11_bn", "resnet18", "resnet152"])
def test_frozen_batch_norm_keeps_torchvisions_names(twin):
    frozen = ours(twin, norm=BatchNorm(frozen=True))
    shapes = {name: tensor.shape for name, tensor in frozen.state_dict().items()}
    assert shapes == {name: t.shape for name, t in theirs(twin).state_dict().items()}
    weights = {name for name, p in theirs(twin).named_parameters() if p.ndim > 1}
    assert {name for name, p in frozen.named_parameters() if p.ndim > 1} == weights


@pytest.mark.parametrize("twin", ["vgg16", "vgg11_bn", "resnet18", "resnet50"])
def test_the_table_is_the_one_that_torchvisions_network_gives(twin):
    def table(model):
        rows = [row for row in summarize(model, IMAGENET) if not row.name.startswith("Flatten")]
        return [(r.name.split("-")[0], r.output_shape, r.parameters) for r in rows]

    assert table(ours(twin)) == table(theirs(twin))


@pytest.mark.parametrize("twin", ["resnet18", "resnet50", "vgg11_bn"])
def test_it_computes_what_torchvisions_network_does(twin):
    torch.manual_seed(0)
    inputs = (3, 64, 64)
    model, reference = ours(twin, inputs, 10), theirs(twin, num_classes=10)
    state = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in model.state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(std=0.02)
        else:
            tensor.zero_()
    for network in (model, reference):
        network.load_state_dict(state, assign=True)
        network.eval()
    x = torch.randn(2, *inputs)
    with torch.no_grad():
        torch.testing.assert_close(model(x), reference(x))
