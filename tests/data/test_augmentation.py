from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from nnrecipe.core.spec import members
from nnrecipe.data import Augment, Augmentation, Data
from nnrecipe.data.augmentation import obstacles
from nnrecipe.data.augmentation.color import (
    ColorJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from nnrecipe.data.augmentation.corruption import Cutout, Noise, cut_out
from nnrecipe.data.augmentation.geometry import HorizontalFlip, RandomCrop, crop, flip, rotate
from nnrecipe.data.augmentation.policies import RandAugment, TrivialAugment

EVERY = pytest.mark.parametrize("member", members(Augment))


def images(n=12, channels=3, height=16, width=20):
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_every_member_keeps_shape_type_and_its_input(member, channels):
    given = images(channels=channels)
    before = given.clone()
    result = Augmentation((member(),), white=1.0)(given, seeded())
    assert result.shape == given.shape
    assert result.dtype == torch.float32
    assert torch.equal(given, before)
    assert not torch.equal(result, given)


@EVERY
def test_every_member_draws_for_each_image_from_its_generator_alone(member):
    same = images(1).expand(12, -1, -1, -1).contiguous()
    state = torch.get_rng_state()
    first = member().apply(same, seeded(), white=1.0)
    assert torch.equal(first, member().apply(same, seeded(), white=1.0))
    assert not torch.equal(first, member().apply(same, seeded(1), white=1.0))
    assert len(first.flatten(1).unique(dim=0)) > 1
    assert torch.equal(state, torch.get_rng_state())


@EVERY
def test_a_member_that_only_moves_pixels_does_the_same_to_bytes(member):
    if not member.moves_pixels:
        pytest.skip("it changes values, and works on floats")
    raw = (images() * 255).to(torch.uint8)
    moved = member().apply(raw, seeded(), white=None)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.float(), member().apply(raw.float(), seeded(), white=None))


def test_what_moves_pixels_is_split_off_only_where_it_comes_first():
    crop_, jitter = RandomCrop(padding=2), ColorJitter()
    moves, changes = Augmentation((crop_, jitter, HorizontalFlip()), white=1.0).split()
    assert moves.specs == (crop_,)
    assert changes.specs == (jitter, HorizontalFlip())


@EVERY
def test_every_member_says_where_it_is_from(member):
    assert member.source


@EVERY
def test_every_member_refuses_tables(member):
    with pytest.raises(ValueError, match="works on images"):
        member().check_inputs((30,))


def test_crop_is_padding_then_cropping():
    given = images()
    top, left = torch.arange(12) % 7, torch.arange(12) * 5 % 7
    padded = reference.pad(given, [3])
    expected = [reference.crop(padded[i], int(top[i]), int(left[i]), 16, 20) for i in range(12)]
    assert torch.equal(crop(given, top, left, padding=3), torch.stack(expected))


def test_random_crop_reaches_every_offset():
    given = torch.zeros(2000, 1, 9, 9)
    given[:, :, 4, 4] = 1
    found = RandomCrop(padding=2).apply(given, seeded(), white=None).nonzero()[:, 2:]
    assert found.unique(dim=0).tolist() == [[a, b] for a in range(2, 7) for b in range(2, 7)]


def test_flip_mirrors_the_chosen():
    given, chosen = images(), torch.arange(12) % 3 == 0
    expected = [
        reference.hflip(image) if c else image for image, c in zip(given, chosen, strict=True)
    ]
    assert torch.equal(flip(given, chosen), torch.stack(expected))


def test_flip_has_its_probability():
    given = torch.zeros(4000, 1, 1, 2)
    given[..., 0] = 1
    flipped = HorizontalFlip(probability=0.3).apply(given, seeded(), white=None)[..., 1]
    assert flipped.mean().item() == pytest.approx(0.3, abs=0.03)


def test_rotation_is_torchvisions():
    given, degrees = images(), torch.linspace(-170, 180, 12)
    turn = {"interpolation": InterpolationMode.BILINEAR}
    expected = [reference.rotate(i, float(d), **turn) for i, d in zip(given, degrees, strict=True)]
    assert torch.allclose(rotate(given, degrees), torch.stack(expected), atol=1e-4)


@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (adjust_brightness, reference.adjust_brightness),
        (adjust_contrast, reference.adjust_contrast),
        (adjust_saturation, reference.adjust_saturation),
    ],
)
def test_light_is_adjusted_as_in_torchvision(ours, theirs, channels, white):
    given, factors = images(channels=channels), torch.linspace(0, 2.5, 12)
    expected = torch.stack([theirs(i, float(f)) for i, f in zip(given, factors, strict=True)])
    result = ours(given * white, factors, white=white)
    assert torch.allclose(result / white, expected, atol=1e-5)


def test_hue_is_turned_as_in_torchvision():
    given, turns = images(), torch.linspace(-0.5, 0.5, 12)
    given[0, :, :4] = given[0, :1, :4]  # gray, which has no hue
    pairs = zip(given, turns, strict=True)
    expected = torch.stack([reference.adjust_hue(i, float(t)) for i, t in pairs])
    assert torch.allclose(adjust_hue(given, turns), expected, atol=1e-5)


def test_color_jitter_stays_in_range_and_draws_within_bounds():
    flat = torch.full((3000, 3, 2, 2), 0.5)
    jitter = ColorJitter(brightness=0.4, contrast=0, saturation=0, hue=0)
    levels = jitter.apply(flat, seeded(), white=1.0)[:, 0, 0, 0]
    assert 0.3 <= levels.min() < 0.31
    assert 0.69 < levels.max() <= 0.7
    strong = ColorJitter(brightness=3, contrast=3, saturation=3, hue=0.5)
    result = strong.apply(images(200), seeded(), white=1.0)
    assert result.min() >= 0
    assert result.max() <= 1


def test_floats_of_unknown_range_are_not_clipped():
    given = images() * 10 - 5
    assert adjust_brightness(given, torch.full((12,), 2.0), white=None).equal(given * 2)


def test_noise_has_its_spread():
    noise = Noise(std=0.3).apply(torch.zeros(50, 3, 16, 16), seeded(), white=1.0)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean().item()) < 0.01


@pytest.mark.parametrize("size", [4, 5])
def test_cutout_is_torchvisions_erase(size):
    given = images(6)
    rows, columns = torch.tensor([0, 1, 8, 15, 14, 3]), torch.tensor([0, 19, 10, 19, 2, 1])
    expected = given.clone()
    for i, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        top, left = max(0, row - size // 2), max(0, column - size // 2)
        bottom, right = row - size // 2 + size, column - size // 2 + size
        reference.erase(
            expected[i], top, left, min(16, bottom) - top, min(20, right) - left, 0, inplace=True
        )
    assert torch.equal(cut_out(given, rows, columns, size=size), expected)


def test_cutout_centres_anywhere():
    result = Cutout(size=1).apply(torch.ones(5000, 1, 4, 4), seeded(), white=1.0)
    assert (result.sum((1, 2, 3)) == 15).all()
    assert (result == 0).any(0).all()


@pytest.mark.parametrize(
    ("augment", "reason"),
    [
        ({"kind": "color_jitter", "hue": 0.1}, "need 3 channels"),
        ({"kind": "color_jitter", "saturation": 0.1}, "need 3 channels"),
        ({"kind": "random_crop", "padding": 8}, "out of view"),
        ({"kind": "cutout", "size": 8}, "can cover"),
        ({"kind": "trivial_augment"}, "half of its translations, of up to 32 pixels"),
        ({"kind": "rand_augment", "magnitude": 31}, "less than or equal to 30"),
        ({"kind": "rand_augment", "num_ops": 0}, "greater than or equal to 1"),
    ],
)
def test_an_impossible_augmentation_is_a_fault_of_the_config(augment, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        TypeAdapter(Data).validate_python({"kind": "digits", "augment": ["noise", augment]})
    fault = caught.value.errors()[0]
    assert fault["loc"][:4] == ("digits", "augment", 1, augment["kind"]) or (
        fault["ctx"]["path"] == "data.augment.1"
    )


def test_policies_refuse_floats_of_unknown_range():
    for policy in (RandAugment(), TrivialAugment()):
        given = (Noise(), policy)
        assert obstacles(given, (3, 32, 32)) == []
        found = obstacles(given, (3, 32, 32), levels=False)
        assert [path for path, _ in found] == ["data.augment.1"]
        assert "needs uint8 images" in found[0][1]


@pytest.mark.parametrize("policy", [RandAugment(magnitude=30), TrivialAugment()])
def test_policies_stay_between_black_and_white(policy):
    for white in (1.0, 255.0):
        result = policy.apply(images(300, height=17) * white, seeded(), white=white)
        assert result.min() >= 0
        assert result.max() <= white
        assert result.isfinite().all()
    one, other = (policy.apply(images(300, height=17) * w, seeded(), white=w) for w in (1.0, 255.0))
    assert torch.allclose(one, other / 255, atol=1e-4)


def test_without_strength_images_keep_but_for_their_levels():
    given = (images(200) * 255).round() / 255
    result = RandAugment(num_ops=1, magnitude=0).apply(given, seeded(), white=1.0)
    same = (result - given).abs().amax((1, 2, 3)) < 1e-5
    # All but autocontrast and equalize, and the inversion of pure white by solarize.
    assert 0.7 < same.float().mean() < 0.95
