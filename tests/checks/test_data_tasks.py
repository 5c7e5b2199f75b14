"""The checks of the data where targets are numbers or labels, and on photographs of clothes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import make_bench
from small_data import Pairs, RandomSplit, bench_on, digits, draws, faults, shuffled, with_noise
from torch import Tensor

from nnrecipe.checks import Bench, DataCheck
from nnrecipe.checks.data.agreement import agree
from nnrecipe.checks.data.baseline import baseline
from nnrecipe.checks.data.kernel import Kernel, Ridge
from nnrecipe.core.causes import Cause
from nnrecipe.core.shapes import OutputSpec

MIX = torch.randn(20, 3, generator=draws(5))


def _bench(task: Any, *, change: Any = lambda targets: targets) -> Bench:
    """Three numbers, or labels, that twenty numbers tell; `change` spoils those of training."""
    inputs = [torch.randn(count, 20, generator=draws(count)) for count in (800, 300)]
    answers = [x @ MIX / 20**0.5 for x in inputs]
    targets = [(y > 0).float() if task == "multi_label" else y for y in answers]
    targets[0] = change(targets[0])
    outputs = OutputSpec(
        3,
        task=task,
        examples=800,
        class_counts=tuple(targets[0].sum(0).int().tolist()) if task == "multi_label" else (),
        target_mean=tuple(targets[0].mean(0).tolist()),
        target_std=tuple(targets[0].std(0).tolist()),
    )
    data = {"outputs": outputs, "classes": ("a", "b", "c")}
    return make_bench(train=(inputs[0], targets[0]), val=(inputs[1], targets[1]), data=data)


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_targets_of_other_examples_are_named(task: Any) -> None:
    assert faults(_bench(task), DataCheck) == []
    found = faults(_bench(task, change=shuffled), DataCheck)
    assert {finding.cause for finding in found} == {Cause.MISALIGNED_LABELS}


@pytest.mark.parametrize("task", ["regression", "multi_label"])
@pytest.mark.parametrize("places", [1, -2])
def test_targets_that_have_slipped_are_put_back(task: Any, places: int) -> None:
    bench = _bench(task, change=lambda targets: targets.roll(places, 0))
    (finding,) = faults(bench, DataCheck)
    assert finding.cause is Cause.MISALIGNED_LABELS
    assert f"{places:+d} places" in finding.measured


def test_sorted_numbers_have_to_be_shuffled() -> None:
    train, val = digits()
    order = train[0].mean((1, 2, 3)).argsort()
    ink = [(x, x.mean((1, 2, 3)).unsqueeze(1)) for x in (train[0][order], val[0])]
    outputs = OutputSpec(1, task="regression", examples=1000, target_mean=(0.0,), target_std=(1.0,))
    data = {"outputs": outputs, "classes": ("ink",)}
    bench = make_bench(train=ink[0], val=ink[1], data=data, shuffle=False)
    assert {finding.cause for finding in faults(bench, DataCheck)} == {Cause.UNSHUFFLED}


def test_left_out_predictions_are_those_of_fitting_anew() -> None:
    points = torch.randn(40, 5, generator=draws())
    targets = torch.randn(40, 2, generator=draws(1))
    kernel = Kernel(points, seed=0)
    view = kernel.view(points)
    alike = kernel(view, view)
    others = torch.arange(40) != 7
    # The mean is taken out of the targets with the example in it.
    center = targets.mean(0)
    anew = Ridge(alike[others][:, others]).weights((targets - center)[others])
    expected = center + alike[7, others] @ anew
    torch.testing.assert_close(Ridge(alike).left_out(targets)[7], expected, rtol=1e-3, atol=1e-4)


def test_the_reference_is_a_fact() -> None:
    train, val = digits()
    bench = bench_on(train, val)
    facts = baseline(bench)
    assert 0.95 < facts["reference_accuracy"] <= 1
    assert facts["learning_curve"]["500 examples"] <= facts["learning_curve"]["1000 examples"]
    assert baseline(_bench("regression"))["reference_r2"] > 0.8


def test_examples_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = digits()
    split = RandomSplit(train, lambda inputs: inputs)
    read: list[int] = []

    def counted(inputs: Tensor) -> Tensor:
        read.append(len(inputs))
        return inputs

    split.change = counted
    bench = bench_on(train, val, data={"train": split})
    faults(bench, DataCheck)
    assert bench.once(agree) is bench.once(agree)
    # All once, two hundred twice, and those whose twins are looked for.
    assert sum(read) <= 1000 + 200 + 500


@pytest.fixture(scope="module")
def clothes(shared_data: Path) -> Pairs:
    """Fashion-MNIST: 1200 images to train on, 600 to validate, standardized."""
    folder = shared_data / "FashionMNIST" / "raw"
    if not folder.is_dir():
        pytest.skip(f"needs real data: no folder {folder}")
    raw = np.fromfile(folder / "train-images-idx3-ubyte", dtype=np.uint8)[16:]
    labels = np.fromfile(folder / "train-labels-idx1-ubyte", dtype=np.uint8)[8:]
    images = torch.tensor(raw[: 1800 * 784].reshape(-1, 1, 28, 28)) / 255
    images, targets = (images - 0.286) / 0.353, torch.tensor(labels[:1800]).long()
    return (images[:1200], targets[:1200]), (images[1200:], targets[1200:])


def test_clothes_are_sound(clothes: Pairs) -> None:
    assert faults(bench_on(*clothes), DataCheck) == []


def test_noise_in_the_labels_of_clothes_is_named(clothes: Pairs) -> None:
    (inputs, labels), val = clothes
    (finding,) = faults(bench_on((inputs, with_noise(labels, 0.4)), val), DataCheck)
    assert finding.cause is Cause.LABEL_NOISE
    assert faults(bench_on((inputs, with_noise(labels, 0.05)), val), DataCheck) == []
