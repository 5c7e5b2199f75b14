"""What is drawn for every image has the distribution of torchvision's transforms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from nnrecipe.core.seeding import isolated_rng
from nnrecipe.data.augmentation.choice import Operation
from nnrecipe.data.augmentation.color import ColorJitter
from nnrecipe.data.augmentation.geometry import HorizontalFlip, RandomCrop, Rotation
from nnrecipe.data.augmentation.policies import RandAugment, TrivialAugment, _apply_drawn

DRAWS = 1500
HEIGHT, WIDTH = 17, 19  # above 16, which is what trivial_augment's translations need
BILINEAR = v2.InterpolationMode.BILINEAR
JITTER = {"brightness": 0.6, "contrast": 1.3, "saturation": 0.8, "hue": 0.2}


def photograph(channels=3):
    """One image, uint8: smooth, off-centre and coloured."""
    coarse = torch.rand(1, channels, 4, 5, generator=torch.Generator().manual_seed(5))
    image = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0]
    return (image * 255).byte()


def ours(augmentation, image):
    given = image.float().div(255).expand(DRAWS, -1, -1, -1).contiguous()
    return augmentation.apply(given, torch.Generator().manual_seed(3), white=1.0)


def theirs(transform, image):
    with isolated_rng(4):
        drawn = torch.stack([transform(image) for _ in range(DRAWS)])
    return drawn.float() / (255 if drawn.dtype == torch.uint8 else 1)


def distance(first, second, *, rounding=0.0):
    """The largest difference of a first or second moment, in its standard errors.

    Of every pixel, and of the mean and the spread of the whole image. `rounding` is what the values
    of one may be off by.
    """
    whole = [
        torch.stack([part.mean((1, 2, 3)), part.std((1, 2, 3))], 1) for part in (first, second)
    ]
    features = [
        torch.cat([p.flatten(1), w], 1) for p, w in zip((first, second), whole, strict=True)
    ]
    middle = features[0].mean(0)
    moments = [torch.cat([f - middle, (f - middle).square()], 1) for f in features]
    error = sum(m.var(0) / len(m) for m in moments).sqrt()
    differences = (moments[0].mean(0) - moments[1].mean(0)).abs() - rounding
    return (differences / error.clamp_min(1e-9)).max().item()


PAIRS = [
    (RandomCrop(padding=3), v2.RandomCrop((HEIGHT, WIDTH), padding=3)),
    (HorizontalFlip(probability=0.3), v2.RandomHorizontalFlip(0.3)),
    # With a fill, even a black one, torchvision darkens the border twice.
    (Rotation(degrees=40), v2.RandomRotation(40, interpolation=BILINEAR, fill=None)),
    (ColorJitter(**JITTER), v2.ColorJitter(**JITTER)),
]


@pytest.mark.parametrize(("augmentation", "transform"), PAIRS)
def test_draws_have_torchvisions_moments(augmentation, transform):
    # A colour jitter whose adjustments came in one order would be 7 standard errors away.
    image = photograph()
    assert distance(ours(augmentation, image), theirs(transform, image.float() / 255)) < 5


@pytest.mark.parametrize(
    ("augmentation", "transform", "channels"),
    [
        (RandAugment(), v2.RandAugment(), 3),
        (RandAugment(num_ops=1, magnitude=25), v2.RandAugment(num_ops=1, magnitude=25), 1),
        (TrivialAugment(), v2.TrivialAugmentWide(), 3),
        (TrivialAugment(), v2.TrivialAugmentWide(), 1),
    ],
)
def test_policies_have_torchvisions_moments(augmentation, transform, channels):
    image = photograph(channels)
    # Torchvision cuts off to a whole level after each operation.
    found = distance(ours(augmentation, image), theirs(transform, image), rounding=1.5 / 255)
    assert found < 5


@pytest.mark.parametrize(
    ("augmentation", "other"),
    [
        (RandomCrop(padding=3), RandomCrop(padding=2)),
        (HorizontalFlip(probability=0.3), HorizontalFlip(probability=0.45)),
        (Rotation(degrees=40), Rotation(degrees=50)),
        (ColorJitter(**JITTER), ColorJitter(**(JITTER | {"contrast": 0.6}))),
        (RandAugment(), RandAugment(num_ops=3)),
        (RandAugment(), RandAugment(magnitude=14)),
        (TrivialAugment(), TrivialAugment(translation=10)),
    ],
)
def test_other_ranges_would_show(augmentation, other):
    image = photograph()
    slack = 1.5 / 255
    assert distance(ours(augmentation, image), ours(other, image), rounding=slack) > 7


@pytest.mark.parametrize("rounds", [1, 3])
def test_operations_and_directions_are_drawn_evenly_and_independently(rounds):
    operations = [
        Operation(lambda i, a, n=n: 8 * i + n + 4 * (a < 0).view(-1, 1, 1, 1), span=1, signed=True)
        for n in range(4)
    ]
    images, strengths = torch.zeros(16_000, 1, 1, 1), torch.full((16_000, rounds), 0.5)
    result = _apply_drawn(images, strengths, torch.Generator().manual_seed(0), operations)
    counts = result.flatten().long().bincount(minlength=8**rounds)
    expected = 16_000 / 8**rounds
    # Chi squared with many degrees of freedom: its mean is their number, its variance twice that.
    freedom = 8**rounds - 1
    chi = ((counts - expected).square() / expected).sum().item()
    assert abs(chi - freedom) < 5 * (2 * freedom) ** 0.5


def test_every_strength_is_drawn():
    flat = torch.full((6000, 1, 20, 20), 0.5)
    result = TrivialAugment(translation=20).apply(flat, torch.Generator().manual_seed(0), white=1.0)
    level = result[:, 0, 10, 10]
    factors = 1 + torch.linspace(-0.99, 0.99, 61)  # brightness
    brightness = (level.unsqueeze(1) - (0.5 * factors).clamp(0, 1)).abs() < 1e-5
    assert brightness[:, factors != 1].any(0).all()
