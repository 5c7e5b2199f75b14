from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from nnrecipe.core.seeding import derive_seed, generator, isolated_rng, seed_everything


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_seed_is_a_function_of_its_purpose():
    assert derive_seed(0, "order", 3) == derive_seed(0, "order", 3)


def test_seeds_are_the_same_in_every_process_and_release():
    from_the_shell = 3687653412  # printf '0/order/1' | b2sum -l 32
    assert derive_seed(0, "order", 1) == from_the_shell


def test_different_purposes_have_different_seeds():
    purposes = [(seed, name, epoch) for seed in range(5) for name in "ab" for epoch in range(50)]
    seeds = {derive_seed(seed, *rest) for seed, *rest in purposes}
    assert len(seeds) == len(purposes)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_generator_is_reproducible_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    one = torch.rand(4, generator=generator(0, "order"))
    two = torch.rand(4, generator=generator(0, "order"))
    other = torch.rand(4, generator=generator(0, "augmentation"))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_everything_seeds_all_three():
    seed_everything(1, "init")
    first = draw()
    seed_everything(1, "init")
    assert draw() == first
    seed_everything(2, "init")
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_an_isolated_block_is_seeded_and_disturbs_nothing():
    seed_everything(7)
    expected = [draw(), draw()]
    seed_everything(7)
    found = [draw()]
    with isolated_rng(1, "probe"):
        inside = draw()
    found.append(draw())
    assert found == expected
    with isolated_rng(1, "probe"):
        assert draw() == inside


def test_an_isolated_block_restores_after_an_error():
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    with pytest.raises(ZeroDivisionError), isolated_rng(1):
        draw()[0] / 0
    assert draw() == expected
