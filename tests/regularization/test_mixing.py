from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from nnrecipe.core.errors import UserError
from nnrecipe.regularization import Mixing

CLASSES = 5
SHARE = {"mixup": 0.4, "cutmix": 1.0}
TORCHVISIONS = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
each_kind = pytest.mark.parametrize("kind", SHARE)


def batch(n=6, *, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 3, size, size, generator=generator)
    return images, torch.randint(0, CLASSES, (n,), generator=generator)


def order_of(partners, targets):
    """The permutation, where all targets differ."""
    return torch.tensor([targets.tolist().index(partner) for partner in partners.tolist()])


def seeded(seed, mixing, *args):
    torch.manual_seed(seed)
    return mixing(*args)


def torchvisions(seed, kind, images, targets):
    """What torchvision makes of a batch, under the seed and after the draw of 6 partners."""
    transform = TORCHVISIONS[kind](alpha=SHARE[kind], num_classes=CLASSES)
    torch.manual_seed(seed)
    torch.randperm(6)
    return transform(images, targets)


@each_kind
@pytest.mark.parametrize("seed", range(20))
def test_under_one_seed_the_mixture_is_torchvisions_but_for_the_partners(kind, seed):
    """Torchvision's partner is the example before in the batch, ours one drawn at random."""
    images, _ = batch()
    examples = torch.arange(6)
    mixed = seeded(seed, Mixing(**{kind: SHARE[kind]}), images, examples)
    order = order_of(mixed.partners, examples)
    mask, _ = torchvisions(seed, kind, indicator(images), torch.arange(2))
    kept = mask[0]  # where, and by how much, torchvision keeps an example
    torch.testing.assert_close(mixed.inputs, kept * images + (1 - kept) * images[order])
    assert mixed.share == pytest.approx(kept.mean().item(), abs=1e-6)
    assert sorted(order.tolist()) == examples.tolist()


def indicator(images):
    """A pair of images: of ones, and of zeros."""
    return torch.stack([torch.ones_like(images[0]), torch.zeros_like(images[0])])


def moments(inputs):
    """Over the batch: the images' mean squared, and a corner times the centre and another corner.

    cutmix only permutes each pixel's values, so that the moments of one pixel don't tell it.
    """
    corner, centre, opposite = inputs[:, 0, [0, 3, 5], [0, 3, 5]].T
    means = inputs.mean((1, 2, 3))
    products = means * means, corner * centre, corner * opposite
    return [product.mean().item() for product in products]


@each_kind
def test_moments_of_share_and_inputs_are_torchvisions(kind):
    """In a large batch, where few examples are drawn as their own partners."""
    images, targets = batch(100, size=6)
    images = images + 2 * images[:, :1, :1, :1]  # the pixels of one image are correlated
    mixing, reference = Mixing(**{kind: 1.0}), TORCHVISIONS[kind](alpha=1.0, num_classes=CLASSES)
    alternating = torch.arange(100) % 2  # so that its soft targets tell the share, or the rest
    ours, theirs = [], []
    torch.manual_seed(0)
    for _ in range(1500):
        mixed = mixing(images, targets)
        ours.append([max(mixed.share, 1 - mixed.share), *moments(mixed.inputs)])
        inputs, soft = reference(images[torch.randperm(100)], alternating)
        theirs.append([soft.amax().item(), *moments(inputs)])
    for found, expected in zip(torch.tensor(ours).T, torch.tensor(theirs).T, strict=True):
        spread = expected.std().item()
        assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.15 * spread)
        assert found.std().item() == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0])
def test_the_share_of_mixup_is_of_the_beta_distribution(alpha):
    images, targets = batch(2, size=1)
    torch.manual_seed(0)
    mixing = Mixing(mixup=alpha)
    shares = torch.tensor([mixing(images, targets).share for _ in range(3000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 3000))
    assert shares.var().item() == pytest.approx(variance, rel=0.08)


@each_kind
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_cross_entropy_with_torchvisions_soft_targets(kind, seed):
    images, targets = batch()
    logits = torch.randn(6, CLASSES, requires_grad=True)
    mixed = seeded(seed, Mixing(**{kind: SHARE[kind]}), images, targets)
    # torchvision's partner is the example before
    pairs = torch.stack([mixed.partners, mixed.targets], 1).flatten()
    _, soft = torchvisions(seed, kind, images.repeat(2, 1, 1, 1), pairs)
    found = mixed.loss(F.cross_entropy, logits)
    expected = F.cross_entropy(logits, soft[1::2])
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients)


@each_kind
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (F.binary_cross_entropy_with_logits, torch.rand(6, CLASSES).round()),
        (F.mse_loss, torch.randn(6, CLASSES)),
        (F.multi_margin_loss, torch.arange(6) % CLASSES),
    ],
    ids=["multi_label", "regression", "hinge"],
)
def test_any_loss_is_shared_between_targets_and_partners(kind, loss, targets):
    images, outputs = batch()[0], torch.randn(6, CLASSES)
    mixed = seeded(0, Mixing(**{kind: SHARE[kind]}), images, targets)
    assert 0 < mixed.share < 1
    expected = mixed.share * loss(outputs, targets) + (1 - mixed.share) * loss(
        outputs, mixed.partners
    )
    torch.testing.assert_close(mixed.loss(loss, outputs), expected)


def test_the_share_of_cutmix_is_what_the_box_leaves():
    images = torch.arange(6.0)[:, None, None, None].expand(6, 3, 7, 9)
    torch.manual_seed(0)
    for _ in range(200):
        mixed = Mixing(cutmix=1.0)(images, torch.arange(6))
        moved = mixed.partners != mixed.targets
        kept = (mixed.inputs == images).float().mean((1, 2, 3))
        assert kept[moved].tolist() == pytest.approx([mixed.share] * int(moved.sum()))
        assert (kept[~moved] == 1).all()


def test_of_both_one_is_drawn_for_each_batch_with_equal_chance():
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 8, 8)
    torch.manual_seed(0)
    mixing = Mixing(mixup=8.0, cutmix=8.0)
    blended = [bool((mixing(images, torch.arange(6)).inputs % 1 != 0).any()) for _ in range(1000)]
    # of 720 permutations one moves nothing, which mixup doesn't show
    assert sum(blended) / 1000 == pytest.approx(0.5, abs=0.05)


def test_partners_are_drawn_at_random():
    images, examples = batch()[0], torch.arange(6)
    torch.manual_seed(0)
    counts = torch.zeros(6, 6)
    for _ in range(3000):
        counts[examples, Mixing(mixup=1.0)(images, examples).partners] += 1
    torch.testing.assert_close(counts / 3000, torch.full((6, 6), 1 / 6), rtol=0, atol=0.03)


@each_kind
def test_the_batch_itself_stays_as_it_is(kind):
    images, targets = batch()
    before = images.clone()
    mixed = Mixing(**{kind: SHARE[kind]})(images, targets)
    assert torch.equal(images, before)
    assert mixed.inputs.data_ptr() != images.data_ptr()
    assert mixed.targets is targets


def test_mixup_takes_inputs_without_pixels():
    inputs, examples = torch.randn(6, 4), torch.arange(6)
    mixed = seeded(0, Mixing(mixup=1.0), inputs, examples)
    expected = mixed.share * inputs + (1 - mixed.share) * inputs[mixed.partners]
    torch.testing.assert_close(mixed.inputs, expected)


@pytest.mark.parametrize("mixing", [Mixing(cutmix=1.0), Mixing(mixup=1.0, cutmix=1.0)], ids=repr)
def test_cutmix_refuses_inputs_without_pixels(mixing):
    message = r"regularization\.cutmix: 1: .* the inputs are \[4\]: use mixup"
    with pytest.raises(UserError, match=message):
        mixing(torch.randn(6, 4), torch.arange(6))
    with pytest.raises(UserError, match=message):
        mixing.check_inputs((4,))


def test_off_it_is_false_and_passes_the_batch_on():
    images, targets = batch()
    assert not Mixing()
    assert Mixing(mixup=0.1)
    assert Mixing(cutmix=0.1)
    state = torch.get_rng_state()
    mixed = Mixing()(images, targets)
    assert mixed.inputs is images
    assert torch.equal(torch.get_rng_state(), state)
    logits = torch.randn(6, CLASSES)
    assert mixed.loss(F.cross_entropy, logits) == F.cross_entropy(logits, targets)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_and_memory_order_stay(kind, dtype):
    images, targets = batch()
    images = images.to(dtype).to(memory_format=torch.channels_last)
    mixed = Mixing(**{kind: SHARE[kind]})(images, targets).inputs
    assert mixed.dtype == dtype
    assert mixed.is_contiguous(memory_format=torch.channels_last)
