from __future__ import annotations

import pytest
import torch

from nnrecipe.core.errors import UserError
from nnrecipe.data.partition import hold_out, stratified_order, subset


def labels(*counts):
    numbers = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(9))]


def divide(targets, fraction=0.1, seed=0):
    names = [f"c{number}" for number in range(int(targets.max()) + 1)]
    return hold_out(targets, fraction, seed=seed, path="data.val_fraction", classes=names)


@pytest.mark.parametrize("size", [10, 35, 160])
def test_every_beginning_has_the_classes_in_proportion(size):
    targets = labels(100, 40, 20)
    counts = targets[stratified_order(targets, seed=3)[:size]].bincount(minlength=3)
    assert (counts - torch.tensor([100, 40, 20]) * size / 160).abs().max() <= 1


def test_the_division_is_complete_ascending_and_stratified():
    targets = labels(500, 300, 50)
    kept, held = divide(targets, 0.2)
    assert torch.cat([kept, held]).sort().values.equal(torch.arange(850))
    assert kept.equal(kept.sort().values)
    assert held.equal(held.sort().values)
    assert targets[held].bincount().tolist() == [100, 60, 10]


def test_the_division_depends_on_its_seed_alone():
    targets = labels(50, 50)
    first = divide(targets)[1]
    state = torch.get_rng_state()
    assert divide(targets)[1].equal(first)
    assert torch.get_rng_state().equal(state)
    assert not divide(targets, seed=1)[1].equal(first)


def test_an_absent_class_is_no_obstacle():
    targets = labels(30, 0, 30)
    assert targets[divide(targets)[1]].bincount().tolist() == [3, 0, 3]


@pytest.mark.parametrize(
    ("counts", "fraction", "message"),
    [
        ((50, 1), 0.2, "'c1' has 1 example.*add examples"),
        ((50, 50), 0.001, "'c0' has 50 example.*raise it"),
        ((50, 3), 0.9, "'c1' has 3 example.*lower it"),
    ],
)
def test_a_class_too_small_to_divide_is_named(counts, fraction, message):
    with pytest.raises(UserError, match=f"data.val_fraction: {fraction}: class {message}"):
        divide(labels(*counts), fraction)


def test_a_subset_is_stratified_and_no_larger_than_asked():
    targets = labels(100, 50)
    assert targets[subset(targets, 15, seed=0)].bincount().tolist() == [10, 5]
    assert subset(targets, 1000, seed=0).equal(torch.arange(150))
    assert subset(targets, None, seed=0).equal(torch.arange(150))
    assert len(subset(targets, 1, seed=0)) == 1
