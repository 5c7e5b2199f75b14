"""Each operation of RandAugment and TrivialAugment, on the same amounts as torchvision's."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from nnrecipe.data.augmentation.affine import shear_x, shear_y, translate_x, translate_y, turn
from nnrecipe.data.augmentation.choice import Operation, apply_chosen
from nnrecipe.data.augmentation.levels import autocontrast, equalize, posterize, solarize
from nnrecipe.data.augmentation.sharpness import adjust_sharpness

STILL = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
COUNT = 12


def raw(channels=3, height=16, width=20):
    """Photograph-like: smooth, with all levels; the first is a gradient, the second is flat."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(COUNT, channels, 4, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    images = (images * 255).clamp(0, 255).byte()
    images[0] = torch.linspace(0, 255, width).byte()
    images[1] = 77
    return images


def each(function, images, amounts):
    return torch.stack([function(i, float(a)) for i, a in zip(images, amounts, strict=True)])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "reach"),
    [
        (
            shear_x,
            lambda i, a: reference.affine(
                i, **(STILL | {"shear": [math.degrees(math.atan(a)), 0.0]}), center=[0, 0]
            ),
            0.97,
        ),
        (
            shear_y,
            lambda i, a: reference.affine(
                i, **(STILL | {"shear": [0.0, math.degrees(math.atan(a))]}), center=[0, 0]
            ),
            0.97,
        ),
        (
            translate_x,
            lambda i, a: reference.affine(i, **(STILL | {"translate": [int(a), 0]})),
            17.3,
        ),
        (
            translate_y,
            lambda i, a: reference.affine(i, **(STILL | {"translate": [0, int(a)]})),
            17.3,
        ),
        (turn, lambda i, a: reference.rotate(i, a), 133.0),
    ],
)
def test_moves_are_torchvisions(ours, theirs, reach, channels):
    given, amounts = raw(channels), torch.linspace(-reach, reach, COUNT)
    assert torch.equal(ours(given.float(), amounts).byte(), each(theirs, given, amounts))


def test_whole_translations_are_exact_however_they_were_computed():
    given = torch.arange(40.0).view(1, 1, 1, 40)
    for pixels in range(1, 31):
        amounts = 30 * torch.tensor([pixels / 30], dtype=torch.float32)
        assert torch.equal(translate_x(given, amounts)[..., pixels:], given[..., :-pixels])


@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_is_torchvisions(channels, white):
    given, factors = raw(channels) / 255, torch.linspace(0, 2, COUNT)
    result = adjust_sharpness(given * white, factors, white=white) / white
    expected = each(lambda i, f: reference.adjust_sharpness(i, f), given, factors)
    assert torch.allclose(result, expected, atol=1e-6)
    small = given[:, :, :2]
    assert torch.equal(adjust_sharpness(small, factors, white=white), small)


@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (posterize, lambda i, b: reference.posterize(i, round(b)), torch.arange(COUNT) % 9),
        (
            solarize,
            # Where a threshold is a level, torchvision leaves it to rounding if that is inverted.
            lambda i, t: reference.solarize(i, math.ceil(255 * t - 0.01)),
            torch.linspace(1, 0, 31)[::2][:COUNT],
        ),
        (
            lambda i, _, white: equalize(i, white=white),
            lambda i, _: reference.equalize(i),
            torch.zeros(COUNT),
        ),
    ],
)
def test_levels_are_exactly_torchvisions_on_bytes(ours, theirs, amounts, channels, white):
    given = raw(channels, 24, 30)
    result = ours(given * (white / 255), amounts.float(), white=white) * (255 / white)
    assert (result - result.round()).abs().max() < 1e-3
    assert torch.equal(result.round().byte(), each(theirs, given, amounts))


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_autocontrast_is_torchvisions(white):
    given = raw() / 255
    expected = torch.stack([reference.autocontrast(image) for image in given])
    assert torch.allclose(autocontrast(given * white, white=white) / white, expected, atol=1e-6)


def test_equalize_rounds_what_lies_between_levels():
    given = raw() / 255
    shifted = (given + 0.3 / 255).clamp(0, 1)
    changes = given != equalize(given, white=1.0)
    assert torch.equal(equalize(shifted, white=1.0)[changes], equalize(given, white=1.0)[changes])


def test_each_image_goes_through_the_operations_that_it_chose_in_its_order():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(50, 2, 3, 3, generator=generator)
    choices = torch.randint(3, (50, 4), generator=generator)
    choices[choices == 1] = 0  # nobody chose this one
    strengths = torch.rand(50, 4, generator=generator) * 2 - 1
    operations = [
        Operation(lambda i, a: i + a.view(-1, 1, 1, 1), start=1, span=3, signed=True),
        Operation(lambda i, a: pytest.fail("nobody chose it")),
        Operation(lambda i, a: i * a.view(-1, 1, 1, 1), start=1, span=2),
    ]
    before = images.clone()
    result = apply_chosen(images, choices, strengths=strengths, operations=operations)
    assert torch.equal(images, before)
    for image, chosen, strength, found in zip(images, choices, strengths, result, strict=True):
        for number, s in zip(chosen.tolist(), strength.tolist(), strict=True):
            image = image + (1 + 3 * s) if number == 0 else image * (1 + 2 * abs(s))
        assert torch.allclose(found, image, atol=1e-5)
