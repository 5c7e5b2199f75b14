from __future__ import annotations

import pytest
import torch

from nnrecipe.core.world import World, in_turn

PLAIN = {"kind": "digits"}
AUGMENTED = {"kind": "digits", "augment": [{"kind": "random_crop", "padding": 2}, "noise"]}


def epoch(bundle, size, *, seed=0, shuffle=True):
    generator = torch.Generator().manual_seed(seed)
    return list(bundle.training_batches(size, generator=generator, shuffle=shuffle))


def inputs(batches):
    return torch.cat([batch.inputs for batch in batches])


@pytest.mark.parametrize("config", [PLAIN, AUGMENTED])
def test_an_epoch_is_decided_by_its_generator(load, config):
    bundle = load(config)
    state = torch.get_rng_state()
    first = inputs(epoch(bundle, 100))
    assert first.equal(inputs(epoch(bundle, 100)))
    assert not first.equal(inputs(epoch(bundle, 100, seed=1)))
    assert torch.get_rng_state().equal(state)


def test_an_epoch_has_each_example_once(load):
    bundle = load(PLAIN)
    seen = inputs(epoch(bundle, 100)).flatten(1)
    everything = inputs(bundle.batches(bundle.train, 1000)).flatten(1)
    assert seen.unique(dim=0).equal(everything.unique(dim=0))
    assert len(seen) == len(bundle.train)
    assert not seen.equal(everything)


def test_without_shuffling_the_order_is_the_sources(load):
    bundle = load(PLAIN)
    batches = epoch(bundle, 100, shuffle=False)
    assert torch.cat([batch.targets for batch in batches]).equal(bundle.train.targets)
    assert inputs(batches).equal(inputs(bundle.batches(bundle.train, 77)))


def test_augmentation_changes_training_batches_only(load):
    plain, augmented = load(PLAIN), load(AUGMENTED)
    assert not inputs(epoch(plain, 100)).equal(inputs(epoch(augmented, 100)))
    for split in ("train", "val", "test"):
        first = inputs(plain.batches(getattr(plain, split), 100))
        assert first.equal(inputs(augmented.batches(getattr(augmented, split), 100)))


@pytest.mark.parametrize(
    ("limit", "size", "sizes"),
    [(20, 8, [8, 8, 4]), (21, 10, [10, 10]), (20, 64, [20]), (20, 1, [1] * 20), (21, 20, [20])],
)
def test_the_sizes_of_the_batches(load, limit, size, sizes):
    bundle = load(PLAIN | {"limit": limit})
    assert [len(batch.targets) for batch in epoch(bundle, size)] == sizes
    assert bundle.steps_per_epoch(size) == len(sizes)


def test_examples_are_normalized_and_raw_ones_are_not(load):
    bundle = load(PLAIN)
    places = torch.tensor([5, 0, 7])
    raw, targets = bundle.val.examples(places)
    assert raw.dtype == torch.uint8
    assert targets.equal(bundle.val.targets[places])
    shown = bundle.examples(bundle.val, places).inputs
    pixels = raw.float() / 255
    expected = (pixels - bundle.preprocessing.mean) / bundle.preprocessing.std
    assert torch.allclose(shown, expected, atol=1e-5)


def test_statistics_come_from_the_training_split_alone(load):
    bundle = load(PLAIN)
    train = inputs(bundle.batches(bundle.train, 5000))
    assert train.mean().item() == pytest.approx(0, abs=1e-5)
    assert train.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert abs(inputs(bundle.batches(bundle.val, 5000)).mean().item()) > 1e-4


def test_raw_pixels_can_be_centred_per_feature(load):
    bundle = load(
        {"kind": "digits", "pixels": "raw", "normalize": {"kind": "center", "per": "feature"}}
    )
    train = inputs(bundle.batches(bundle.train, 5000))
    assert bundle.preprocessing.mean.shape == (1, 8, 8)
    assert train.mean(0).abs().max() < 1e-3
    assert train.std() > 50


def test_a_batch_may_be_written_to(load):
    bundle = load(PLAIN | {"normalize": "none", "pixels": "raw"})
    before = inputs(bundle.batches(bundle.val, 50))
    for batch in bundle.batches(bundle.val, 50):
        batch.inputs.zero_()
    assert before.equal(inputs(bundle.batches(bundle.val, 50)))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_share_the_batches_of_an_epoch(load, size):
    bundle = load(PLAIN | {"limit": 203})
    parts = [
        list(
            bundle.training_batches(
                100, generator=torch.Generator().manual_seed(0), world=World(rank, size)
            )
        )
        for rank in range(size)
    ]
    whole = epoch(bundle, 100)
    assert [len(part) for part in parts] == [len(whole)] * size
    for batch, *shares in zip(whole, *parts, strict=True):
        together = torch.cat([share.inputs for share in shares]).flatten(1)
        each = len(together) == len(batch.inputs) or len(together) == size * len(batch.inputs)
        assert each
        assert together.unique(dim=0).equal(batch.inputs.flatten(1).unique(dim=0))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_are_dealt_each_example_of_an_evaluation_once(load, size):
    bundle = load(PLAIN)
    whole = list(bundle.batches(bundle.val, 64))  # fewer than five
    parts = [list(bundle.batches(bundle.val, 64, world=World(rank, size))) for rank in range(size)]
    together = list(in_turn(parts))
    assert [len(batch.targets) for batch in together] == [len(batch.targets) for batch in whole]
    assert inputs(together).equal(inputs(whole))
