"""A fault in the data is named as what it is, and nothing else is; sound data stay unnamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_data import (
    DATA,
    Pair,
    Pairs,
    RandomSplit,
    bench_on,
    digits,
    draws,
    faults,
    rows,
    scrambled,
    shuffled,
    with_noise,
)
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.checks import DataCheck
from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.readings import read
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict

Change = Callable[[Pair, Pair], Pairs]


def _noisy(inputs: Tensor, sigma: float) -> Tensor:
    return inputs + sigma * torch.randn(inputs.shape, generator=draws(3))


def _swapped(labels: Tensor, one: int, other: int) -> Tensor:
    swapped = labels.clone()
    swapped[labels == one], swapped[labels == other] = other, one
    return swapped


def _coin(labels: Tensor, one: int, other: int) -> Tensor:
    toss = torch.rand(labels.shape, generator=draws(1 + len(labels))) < 0.5
    both = (labels == one) | (labels == other)
    return torch.where(both, torch.where(toss, one, other), labels)


FAULTS: dict[str, tuple[Cause, Change]] = {
    "labels drawn anew": (
        Cause.LABEL_NOISE,
        lambda train, val: ((train[0], with_noise(train[1], 0.4)), val),
    ),
    "labels shuffled": (
        Cause.MISALIGNED_LABELS,
        lambda train, val: ((train[0], shuffled(train[1])), val),
    ),
    "validation labels shuffled": (
        Cause.MISALIGNED_LABELS,
        lambda train, val: (train, (val[0], shuffled(val[1]))),
    ),
    "labels one place off": (
        Cause.MISALIGNED_LABELS,
        lambda train, val: ((train[0], train[1].roll(1)), val),
    ),
    "labels count from 1": (
        Cause.LABEL_MAP_MISMATCH,
        lambda train, val: ((train[0], (train[1] + 1) % 10), val),
    ),
    "two classes exchanged": (
        Cause.LABEL_MAP_MISMATCH,
        lambda train, val: (train, (val[0], _swapped(val[1], 2, 7))),
    ),
    "two names for one thing": (
        Cause.CLASS_OVERLAP,
        lambda train, val: ((train[0], _coin(train[1], 1, 2)), (val[0], _coin(val[1], 1, 2))),
    ),
    "validation on another scale": (
        Cause.PREPROCESSING_MISMATCH,
        lambda train, val: (train, (0.3 * val[0] + 0.4, val[1])),
    ),
    "training numbers in another order each": (
        Cause.INPUT_DESTROYED,
        lambda train, val: ((scrambled(train[0]), train[1]), val),
    ),
    "half of validation copied": (
        Cause.LEAKAGE,
        lambda train, val: (
            train,
            (torch.cat([train[0][:250], val[0][250:]]), torch.cat([train[1][:250], val[1][250:]])),
        ),
    ),
    "1 % of the data": (
        Cause.TOO_LITTLE_DATA,
        lambda train, val: ((train[0][:40], train[1][:40]), val),
    ),
    "noise on training": (
        Cause.DISTRIBUTION_SHIFT,
        lambda train, val: ((_noisy(train[0], 1.5), train[1]), val),
    ),
    "the same input always": (
        Cause.CONSTANT_INPUT,
        lambda train, val: ((train[0][:1].expand_as(train[0]).clone(), train[1]), val),
    ),
    "mostly the same input": (
        Cause.CONSTANT_INPUT,
        lambda train, val: (
            (train[0][(torch.arange(1000) % 50 == 0) * torch.arange(1000)], train[1]),
            val,
        ),
    ),
    "infinite validation input": (
        Cause.NAN_INPUT,
        lambda train, val: (train, (val[0].masked_fill(val[0] == val[0].max(), torch.inf), val[1])),
    ),
    "raw": (
        Cause.INPUT_UNSCALED,
        lambda train, val: ((90 * train[0] + 70, train[1]), (90 * val[0] + 70, val[1])),
    ),
    "divided by 255 again": (
        Cause.DOUBLE_SCALING,
        lambda train, val: ((train[0] / 255 - 1, train[1]), (val[0] / 255 - 1, val[1])),
    ),
    "a class left out": (
        Cause.MISSING_CLASS,
        lambda train, val: ((train[0][train[1] != 3], train[1][train[1] != 3]), val),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kind", DATA)
def test_faults_are_named(kind: str, name: str) -> None:
    cause, change = FAULTS[name]
    found = faults(bench_on(*change(*DATA[kind]())), DataCheck)
    assert {finding.cause for finding in found} == {cause}, found
    assert all(finding.advice and finding.measured for finding in found)


IMAGE_FAULTS: dict[str, tuple[Cause, Change]] = {
    "upside down": (
        Cause.DISTRIBUTION_SHIFT,
        lambda train, val: (train, (val[0].flip(2), val[1])),
    ),
    "negative": (Cause.DISTRIBUTION_SHIFT, lambda train, val: (train, (-val[0], val[1]))),
    "blurred": (
        Cause.DISTRIBUTION_SHIFT,
        lambda train, val: (train, (F.avg_pool2d(val[0], 3, 1, 1), val[1])),
    ),
    "both scrambled": (
        Cause.INPUT_DESTROYED,
        lambda train, val: ((scrambled(train[0]), train[1]), (scrambled(val[0], seed=1), val[1])),
    ),
    "both noise": (
        Cause.INPUT_DESTROYED,
        lambda train, val: (
            (torch.randn(train[0].shape, generator=draws(1)), train[1]),
            (torch.randn(val[0].shape, generator=draws(2)), val[1]),
        ),
    ),
    "both misaligned": (
        Cause.MISALIGNED_LABELS,
        lambda train, val: ((train[0], shuffled(train[1])), (val[0], shuffled(val[1]))),
    ),
    "copied with noise": (
        Cause.LEAKAGE,
        lambda train, val: (train, (_noisy(train[0][:500], 0.02), train[1][:500])),
    ),
    "copied with another label": (
        Cause.CLASS_OVERLAP,
        lambda train, val: (
            (torch.cat([train[0], train[0][:60]]), torch.cat([train[1], (train[1][:60] + 1) % 10])),
            val,
        ),
    ),
}


@pytest.mark.parametrize("name", IMAGE_FAULTS)
def test_faults_of_images_are_named(name: str) -> None:
    cause, change = IMAGE_FAULTS[name]
    found = faults(bench_on(*change(*digits())), DataCheck)
    assert {finding.cause for finding in found} == {cause}, found


SOUND: dict[str, Change] = {
    "as they are": lambda train, val: (train, val),
    "a few": lambda train, val: ((train[0][:850], train[1][:850]), (val[0][:90], val[1][:90])),
    "one label in 20 is wrong": lambda train, val: ((train[0], with_noise(train[1], 0.05)), val),
    "5:1 imbalance in training": lambda train, val: (_thinned(train), val),
    "no validation example of a class": lambda train, val: (
        train,
        (val[0][val[1] != 4], val[1][val[1] != 4]),
    ),
    "slightly brighter validation": lambda train, val: (train, (1.1 * val[0] + 0.1, val[1])),
    "two classes": lambda train, val: (
        (train[0], (train[1] > 4).long()),
        (val[0], (val[1] > 4).long()),
    ),
}


def _thinned(pair: Pair) -> Pair:
    kept = (pair[1] % 2 == 1) | (torch.rand(len(pair[1]), generator=draws()) < 0.2)
    return pair[0][kept], pair[1][kept]


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("kind", DATA)
def test_sound_data_are_left_alone(kind: str, name: str) -> None:
    train, val = SOUND[name](*DATA[kind]())
    size = 1 + int(train[1].max())
    assert faults(bench_on(train, val, size=size), DataCheck) == []


def test_a_fixed_order_of_the_pixels_is_a_hint() -> None:
    order = torch.randperm(64, generator=draws())
    train, val = ((x.flatten(1)[:, order].view_as(x), y) for x, y in digits())
    (finding,) = faults(bench_on(train, val), DataCheck)
    assert finding.cause is Cause.INPUT_DESTROYED
    assert finding.verdict is Verdict.WARN
    assert finding.confidence < 0.5


def test_the_noise_is_measured() -> None:
    train, val = digits()
    (finding,) = faults(bench_on((train[0], with_noise(train[1], 0.5)), val), DataCheck)
    share = float(finding.measured.split("%")[0].removeprefix("about ")) / 100
    assert share == pytest.approx(0.5, abs=0.08)


def test_the_label_map_is_told() -> None:
    train, val = rows()
    (finding,) = faults(bench_on((train[0], (train[1] + 1) % 10), val), DataCheck)
    assert "those of validation +1 (mod 10)" in finding.measured
    (finding,) = faults(bench_on(train, (val[0], _swapped(val[1], 2, 7))), DataCheck)
    assert "class 2 is class 7, class 7 is class 2" in finding.measured


def _random(pair: Pair, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {"train": RandomSplit(pair, change)}


def _moved(inputs: Tensor) -> Tensor:
    """Each image by up to a pixel."""
    padded = F.pad(inputs, (1, 1, 1, 1), value=float(inputs.min()))
    places = torch.randint(0, 3, (len(inputs), 2)).tolist()
    moved = [x[:, a : a + 8, b : b + 8] for x, (a, b) in zip(padded, places, strict=True)]
    return torch.stack(moved)


def _torn(inputs: Tensor) -> Tensor:
    """Nine tenths of the pixels black, the rest rolled by any number of places."""
    rolled = torch.stack([x.roll(int(torch.randint(0, 8, ())), 1) for x in inputs])
    return torch.where(torch.rand(inputs.shape) < 0.1, rolled, inputs.min())


def _drowned(inputs: Tensor) -> Tensor:
    return inputs + 4 * torch.randn_like(inputs)


@pytest.mark.parametrize("change", [_torn, _drowned])
def test_an_augmentation_that_leaves_nothing_is_named(change: Any) -> None:
    torch.manual_seed(0)
    train, val = digits()
    found = faults(bench_on(train, val, data=_random(train, change)), DataCheck)
    assert {finding.cause for finding in found} == {Cause.AUGMENTATION_TOO_STRONG}


def test_a_usual_augmentation_is_left_alone() -> None:
    torch.manual_seed(0)
    train, val = digits()
    bench = bench_on(train, val, data=_random(train, _moved))
    assert bench.once(read).random
    assert faults(bench, DataCheck) == []


@pytest.mark.parametrize("rarely", [False, True])
def test_a_random_validation_split_is_named(rarely: bool) -> None:
    torch.manual_seed(0)
    train, val = digits()

    def change(inputs: Tensor) -> Tensor:
        moved = torch.rand(len(inputs), 1, 1, 1) < (0.02 if rarely else 1)
        return torch.where(moved, _moved(inputs), inputs)

    found = faults(bench_on(train, val, data={"val": RandomSplit(val, change)}), DataCheck)
    assert {finding.cause for finding in found} == {Cause.VAL_AUGMENTED}


@pytest.mark.parametrize("kind", DATA)
def test_sorted_examples_have_to_be_shuffled(kind: str) -> None:
    (inputs, labels), val = DATA[kind]()
    order = labels.argsort()
    ordered = inputs[order], labels[order]
    (finding,) = faults(bench_on(ordered, val, shuffle=False), DataCheck)
    assert finding.cause is Cause.UNSHUFFLED
    assert finding.verdict is Verdict.FAIL
    assert faults(bench_on(ordered, val), DataCheck) == []
    assert faults(bench_on((inputs, labels), val, shuffle=False), DataCheck) == []


def _rare(pair: Pair) -> Pair:
    kept = (pair[1] > 1) | (torch.arange(len(pair[1])) < 40)
    return pair[0][kept], pair[1][kept]


def test_rare_classes_may_weigh_more() -> None:
    train, val = digits()
    thin = _rare(train)
    counts = thin[1].bincount(minlength=10)
    assert counts.max() > 10 * counts.min()
    (finding,) = faults(bench_on(thin, val), DataCheck)
    assert finding.cause is Cause.CLASS_IMBALANCE
    weights = counts.sum() / 10 / counts

    def weighed(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, weight=weights)

    assert faults(bench_on(thin, val, loss=weighed), DataCheck) == []


def test_nothing_of_the_global_generator_is_used() -> None:
    train, val = digits()
    state = torch.get_rng_state()
    bench: Bench = bench_on(train, val)
    first = faults(bench, DataCheck)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == faults(bench_on(train, val), DataCheck)
