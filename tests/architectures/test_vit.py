"""The vision transformer against torchvision's, and against the paper's sizes."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from pydantic import ValidationError
from torch import nn
from torchvision.models import VisionTransformer

from nnrecipe.architectures.summary import blueprint, summarize
from nnrecipe.architectures.vit import Vit
from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.init.scaled import XavierUniform
from nnrecipe.layers.activations import Maxout, Relu
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm, LayerNorm, NoNorm
from nnrecipe.layers.residual import StochasticDepth

NORM = LayerNorm(eps=1e-6)
TINY = {"patch": 4, "dim": 24, "depth": 3, "heads": 4, "mlp_ratio": 2.0}


def build(inputs=(3, 16, 16), classes=5, *, norm=NORM, hidden=None, **fields):
    torch.manual_seed(0)
    spec = Vit(**{**TINY, **fields})
    return spec.build(inputs, OutputSpec(classes), hidden=hidden or Hidden(norm=norm))


def weights_from(theirs):
    """The state dict of torchvision's transformer under our names."""
    words = {
        "conv_proj": "patches",
        "encoder.pos_embedding": "position",
        "encoder.layers.encoder_layer_": "blocks.",
        "ln_1": "attention.norm",
        "self_attention.in_proj_": "attention.qkv.",
        "self_attention.out_proj": "attention.projection",
        "ln_2": "mlp.norm",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
        "encoder.ln": "norm",
        "heads.head": "head",
    }
    state = theirs.state_dict()
    for old, new in words.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def twin():
    torch.manual_seed(1)
    theirs = VisionTransformer(16, 4, 3, 4, 24, 48, num_classes=5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    return theirs


def test_it_computes_what_torchvisions_does():
    ours, theirs = build(), twin()
    ours.load_state_dict(weights_from(theirs))
    x = torch.randn(4, 3, 16, 16)
    expected = theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_its_gradient_is_torchvisions():
    ours, theirs = build(), twin()
    ours.load_state_dict(weights_from(theirs))
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    for model in (ours, theirs):
        F.cross_entropy(model(x), y).backward()
    first = theirs.encoder.layers[0].self_attention.in_proj_weight
    for parameter, expected in [
        (ours.position, theirs.encoder.pos_embedding),
        (ours.class_token, theirs.class_token),
        (ours.blocks[0].attention.qkv.weight, first),
    ]:
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "fields", "total"),
    [
        ("vit_b_16", {"patch": 16, "dim": 768, "depth": 12, "heads": 12}, 86_567_656),
        ("vit_b_32", {"patch": 32, "dim": 768, "depth": 12, "heads": 12}, 88_224_232),
        ("vit_l_16", {"patch": 16, "dim": 1024, "depth": 24, "heads": 16}, 304_326_632),
        ("vit_l_32", {"patch": 32, "dim": 1024, "depth": 24, "heads": 16}, 306_535_400),
        ("vit_h_14", {"patch": 14, "dim": 1280, "depth": 32, "heads": 16}, 632_045_800),
    ],
)
def test_every_parameter_has_the_shape_of_torchvisions(theirs, fields, total):
    model = blueprint(Vit(**fields), (3, 224, 224), OutputSpec(1000), hidden=Hidden(norm=NORM))
    with torch.device("meta"):
        twin = torchvision.models.get_model(theirs)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in weights_from(twin).items()}
    assert sum(shape.numel() for shape in shapes.values()) == total


def test_the_operations_by_hand():
    tokens, dim, units, depth = 17, 24, 48, 3
    block = 2 * tokens * dim * (3 * dim + dim + 2 * units) + 2 * 2 * tokens**2 * dim
    expected = 2 * 16 * 48 * dim + depth * block + 2 * dim * 5
    assert sum(row.flops for row in summarize(build(), (3, 16, 16))) == expected


def test_the_mean_is_over_the_patches():
    model = build(pool="mean").eval()
    assert model.class_token is None
    assert model.position.shape == (1, 16, 24)
    seen = []
    model.norm.register_forward_hook(lambda *call: seen.append(call[2]))
    output = model(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(output, model.head(seen[0].mean(1)))


def test_the_position_embedding_starts_small():
    position = build((3, 64, 64), dim=96).position
    assert abs(position.mean()) < 1e-3
    assert position.std().item() == pytest.approx(0.02, rel=0.02)


def test_init_reaches_every_matrix():
    model = build()
    before = {name: p.clone() for name, p in model.named_parameters() if p.ndim >= 2}
    XavierUniform(output_gain=1.0).apply(model, activation=Relu())
    moved = {name for name, p in before.items() if not torch.equal(p, model.get_parameter(name))}
    assert before.keys() - moved == {"class_token", "position"}


@pytest.mark.parametrize("inputs", [(1, 8, 8), (3, 8, 16)], ids=str)
def test_any_channels_and_oblong_images(inputs):
    assert build(inputs)(torch.randn(2, *inputs)).shape == (2, 5)


def test_patches_must_cover_the_image():
    with pytest.raises(
        UserError, match=r"^architecture\.patch: .* 5x5 .* 32x48: use one of 1, 2, 4, 8, 16$"
    ):
        Vit(patch=5).check_inputs((3, 32, 48))
    with pytest.raises(UserError, match="vit needs images"):
        Vit().check_inputs((64,))


def test_heads_must_divide_dim():
    with pytest.raises(ValidationError, match="5 heads do not divide dim: 24"):
        Vit(dim=24, heads=5)


def test_a_huge_dim_is_refused_at_once():
    with pytest.raises(ValidationError, match="3 heads do not divide dim: 1000000000"):
        Vit(dim=10**9, heads=3)


def test_dropout_ends_both_branches_of_each_block():
    def rates(dropout):
        model = build(hidden=Hidden(norm=NORM, dropout=dropout))
        return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]

    assert rates(None) == rates(Dropout(drop=0.0)) == []
    assert rates(Dropout(drop=0.3)) == [0.3] * 6
    assert rates(Dropout(drop=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    with pytest.raises(UserError, match="6 places"):
        rates(Dropout(drop=(0.1, 0.2)))


def test_stochastic_depth_rises_to_the_last_block():
    model = build(hidden=Hidden(norm=NORM, stochastic_depth=0.6))
    rates = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    assert rates == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    assert model.state_dict().keys() == build().state_dict().keys()


def test_a_block_without_its_branches_passes_its_input_on():
    torch.manual_seed(0)
    model = build(depth=1, hidden=Hidden(norm=NORM, stochastic_depth=0.5))
    x = torch.randn(4000, 5, 24)
    with torch.no_grad():
        passed = (model.blocks(x) == x).flatten(1).all(1).double().mean().item()
    assert passed == pytest.approx(0.25, abs=0.03)  # both branches left out


def test_maxout_takes_its_maximum_over_a_tokens_numbers():
    model = build(activation=Maxout(pieces=2))
    assert model.blocks[0].mlp.fc1.out_features == 2 * model.blocks[0].mlp.fc2.in_features == 96
    x = torch.randn(2, 5, 24)
    mlp = model.blocks[0].mlp
    pieces = mlp.fc1(mlp.norm(x)).reshape(2, 5, 48, 2)
    torch.testing.assert_close(mlp(x), mlp.fc2(pieces.max(-1).values))


def test_width_keeps_the_heads():
    model = build(width=0.5)
    assert model.position.shape[-1] == 12
    assert model.blocks[0].attention.heads.heads == 4
    assert model.blocks[0].mlp.fc1.out_features == 24
    assert build(width=1e-3).position.shape[-1] == 4


def test_without_a_norm_there_is_none():
    model = build(norm=NoNorm())
    assert not any(isinstance(module, nn.LayerNorm) for module in model.modules())
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 5)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (Hidden(norm=BatchNorm()), r"^norm\.kind: batch .* token .* use layer or none"),
        (Hidden(norm=LayerNorm(position="after")), r"^norm\.position: .* leave norm\.position out"),
        (Hidden(dropblock=DropBlock()), r"^regularization\.dropblock: .* no feature maps"),
    ],
    ids=["batch", "after", "dropblock"],
)
def test_what_does_not_fit_is_refused(hidden, message):
    with pytest.raises(UserError, match=message):
        build(hidden=hidden)


@pytest.mark.parametrize("make", [build, twin])
def test_tokens_and_positions_are_no_weights(make):
    """Decay, penalties and max-norm are for what multiplies, as in timm and DeiT."""
    model = make()
    added = {name for name, p in model.named_parameters() if p.ndim == 3}
    assert len(added) == 2
    multiplying = {name for name, p in model.named_parameters() if p.ndim in (2, 4)}
    assert weights_of(model).keys() == multiplying


def test_a_kernel_of_one_output_is_a_weight():
    assert weights_of(nn.Conv1d(4, 1, 3)).keys() == {"weight"}
