"""Targets that are not classes: several labels, and numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data import Data, ResidentSplit, StreamedSplit
from nnrecipe.data.labels import as_target, as_targets
from nnrecipe.data.partition import subset

TABLE = """
def make(n=40):
    x = torch.rand(n, 6)
    y = {targets}
    whole = TensorDataset(x, y)
    return whole, Subset(whole, range(10)), Subset(whole, range(10, 25))
"""
STREAM = """
class Rows(Dataset):
    {classes}
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.full((6,), float(i)), {target}
def make(): return Rows(40), Rows(10)
"""


@pytest.fixture
def build(load, user_code):
    def run(body, *, workers=0, **fields):
        config = {"kind": "custom", "target": f"{user_code(body)}:make", **fields}
        return load(config, workers=workers)

    return run


@pytest.mark.parametrize(
    ("task", "targets", "dtype", "width"),
    [
        ("single_label", "torch.arange(n) % 3", torch.int64, ()),
        ("single_label", "(torch.arange(n) % 3).double().unsqueeze(1)", torch.int64, ()),
        ("multi_label", "torch.rand(n, 3) < 0.3", torch.float32, (3,)),
        ("multi_label", "(torch.rand(n, 3) < 0.3).long()", torch.float32, (3,)),
        ("multi_label", "(torch.rand(n, 1) < 0.3).double()", torch.float32, (1,)),
        ("regression", "torch.randn(n)", torch.float32, (1,)),
        ("regression", "torch.arange(n)", torch.float32, (1,)),
        ("regression", "torch.randn(n, 3).double() * 5 + 7", torch.float32, (3,)),
    ],
)
def test_a_table_of_tensors_for_each_task(build, task, targets, dtype, width):
    bundle = build(TABLE.format(targets=targets), task=task, normalize="standardize")
    assert bundle.input_shape == (6,)
    assert isinstance(bundle.train, ResidentSplit)
    for split, count in ((bundle.train, 40), (bundle.val, 10), (bundle.test, 15)):
        assert split.targets.shape == (count, *width)
        assert split.targets.dtype == dtype
        read = torch.cat([batch.targets for batch in bundle.batches(split, 7)])
        assert read.equal(split.targets)
    outputs = bundle.outputs
    assert (outputs.task, outputs.examples) == (task, 40)
    assert outputs.size == len(bundle.classes) == (width[0] if width else 3)
    batch = next(bundle.training_batches(8, generator=torch.Generator()))
    assert batch.targets.shape == (8, *width)
    assert batch.targets.dtype == dtype


def test_outputs_say_what_the_training_targets_are_like(build):
    rows = TABLE.format(targets="(torch.arange(3 * n).view(n, 3) % 4 == 0).float()")
    several = build(rows, task="multi_label").outputs
    assert several == OutputSpec(3, (10, 10, 10), task="multi_label", examples=40)

    numbers = build(TABLE.format(targets="torch.randn(n, 2) * 3 + 1e4"), task="regression")
    targets = numbers.train.targets.double().numpy()
    assert numbers.outputs.class_counts == ()
    assert np.allclose(numbers.outputs.target_mean, targets.mean(0), rtol=1e-12)
    assert np.allclose(numbers.outputs.target_std, targets.std(0), rtol=1e-9)


@pytest.mark.parametrize(
    ("task", "target", "expected"),
    [
        ("multi_label", "[i % 2, True]", lambda i: [i % 2, 1]),
        ("multi_label", "np.array([i % 2 == 0, False, True])", lambda i: [1 - i % 2, 0, 1]),
        ("multi_label", "torch.tensor([1.0, i % 2])", lambda i: [1, i % 2]),
        ("regression", "i / 2", lambda i: [i / 2]),
        ("regression", "np.float64(i)", lambda i: [i]),
        ("regression", "(i, -1.5)", lambda i: [i, -1.5]),
        ("regression", "torch.tensor([i, 2], dtype=torch.float64)", lambda i: [i, 2]),
    ],
)
def test_what_a_target_may_be(build, task, target, expected):
    bundle = build(STREAM.format(classes="", target=target), task=task)
    assert isinstance(bundle.train, StreamedSplit)
    wanted = torch.tensor([expected(i) for i in range(40)], dtype=torch.float32)
    assert bundle.train.targets.equal(wanted)
    order = torch.tensor([5, 0, 31])
    assert bundle.train.examples(order).targets.equal(wanted[order])
    assert torch.cat([b.targets for b in bundle.train.batches(9)]).equal(wanted)


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_workers_deliver_rows_too(build, task):
    body = STREAM.format(classes="", target="[i % 2, i % 3 == 0]")
    alone, together = (build(body, task=task, workers=workers) for workers in (0, 1))
    assert alone.train.targets.equal(together.train.targets)
    for one, other in zip(alone.train.batches(9), together.train.batches(9), strict=True):
        assert one.targets.equal(other.targets)
        assert one.targets.dtype == torch.float32


@pytest.mark.parametrize(
    ("task", "value", "found", "fitting"),
    [
        ("single_label", 0.5, "0.5", "regression"),
        ("single_label", -1, "-1", "regression"),
        ("single_label", [0, 1, 1], r"\[0, 1, 1\]", "multi_label"),
        ("single_label", [0.5, 2.0], r"\[0.5, 2.0\]", "regression"),
        ("single_label", float("nan"), "nan", None),
        ("single_label", "cat", "'cat'", None),
        ("multi_label", 3, "3", "single_label"),
        ("multi_label", [0, 3], r"\[0, 3\]", "regression"),
        ("multi_label", [], r"\[\]", None),
        ("multi_label", None, "None", None),
        ("regression", float("inf"), "inf", None),
        ("regression", [1.0, float("nan")], r"\[1.0, nan\]", None),
        ("regression", torch.zeros(3, 5), r"a tensor \[3, 5\]", None),
        ("regression", 1j, "1j", None),
    ],
)
def test_what_a_target_may_not_be(task, value, found, fitting):
    advice = f": data.task: {fitting} would fit" if fitting else ""
    message = f"^here: (labels|targets) must be .*, got {found}{advice}$"
    with pytest.raises(UserError, match=message):
        as_target(value, task=task, where="here")


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("single_label", torch.tensor([1, 0.5]), r"\[1\]: .* got 0.5: .* regression would fit"),
        ("single_label", torch.eye(4), r"here: .* got a tensor \[4, 4\]: .* multi_label would fit"),
        ("single_label", torch.rand(4, 2), r"here: .*\[4, 2\]: data.task: regression would fit"),
        ("multi_label", torch.arange(4), r"here: .*\[4\]: data.task: single_label would fit"),
        ("multi_label", torch.eye(3) / 2, r"here\[0\]: .*\[0.5, 0.0, 0.0\]: .* regression would"),
        ("regression", torch.tensor([1.0, torch.nan]), r"here\[1\]: .* got nan$"),
        ("regression", torch.rand(5, 3, 4), r"here: .* got a tensor \[5, 3, 4\]$"),
    ],
)
def test_what_a_tensor_of_targets_may_not_be(task, values, message):
    with pytest.raises(UserError, match=message):
        as_targets(values, task=task, where="here")


def test_the_mistake_of_a_task_is_explained_from_the_top(build):
    body = TABLE.format(targets="torch.rand(n)")
    with pytest.raises(UserError, match=r"data.target: .*train\[0\]: .* data.task: regression"):
        build(body)
    body = STREAM.format(classes="", target="torch.eye(3)[i % 3]")
    with pytest.raises(UserError, match=r"data.target: .*train\[0\]: .* data.task: multi_label"):
        build(body)


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_of_different_lengths_are_refused(build, workers):
    body = STREAM.format(classes="", target="[1.0] * (1 + (i == 6))")
    with pytest.raises(UserError, match=r"train\[6\] has 2 targets, but the first example has 1"):
        build(body, task="regression", workers=workers)
    body = (
        "def make():\n"
        "    return [TensorDataset(torch.ones(4, 2), torch.ones(4, n)) for n in (2, 3)]\n"
    )
    with pytest.raises(UserError, match="must be alike, got rows of 3 in val, of 2 in train"):
        build(body, task="multi_label")


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        ("['hot', 'dry']", ("hot", "dry")),
        ("('a', 'b', 'c')", ("0", "1")),
        ("None", ("0", "1")),
    ],
)
def test_outputs_are_named_by_the_dataset_if_it_fits(build, declared, names):
    body = STREAM.format(classes=f"classes = {declared}", target="[i % 2, 1]")
    assert build(body, task="multi_label").classes == names
    assert build(body, task="regression", classes=2).classes == names


def test_a_wrong_number_of_outputs_is_refused(build):
    body = STREAM.format(classes="", target="[i % 2, 1]")
    with pytest.raises(UserError, match=r"^data.classes: 3: the targets of .*make are rows of 2"):
        build(body, task="multi_label", classes=3)
    with pytest.raises(ValidationError, match="1 class leaves nothing") as caught:
        build(body, classes=1)
    assert caught.value.errors()[0]["ctx"]["path"] == "data.classes"


def test_what_is_known_without_the_data():
    def outputs(**fields):
        config = {"kind": "custom", "target": "a:b", **fields}
        return TypeAdapter(Data).validate_python(config).outputs()

    assert outputs(task="regression") is None
    assert outputs(task="regression", classes=1) == OutputSpec(1, task="regression")
    assert outputs(classes=3) == OutputSpec(3)


@pytest.mark.parametrize("declared", ["rows", "list", "wrong"])
def test_declared_targets_save_reading_every_example(build, declared):
    body = f"""
READS = []
class Declared(Dataset):
    def __init__(self, n):
        y = np.random.rand(n, 2)
        self.y = y
        self.targets = {{"rows": y, "list": y.tolist(), "wrong": y + 1}}["{declared}"]
    def __len__(self): return len(self.y)
    def __getitem__(self, i):
        READS.append(i)
        return torch.zeros(3), self.y[i]
def make(): return Declared(300), Declared(200)
def reads(): return READS
"""
    bundle = build(body, task="regression")
    dataset = bundle.train._stream._reader._dataset
    assert np.allclose(bundle.train.targets, dataset.y, atol=1e-6)
    reads = len(dataset.__getitem__.__globals__["READS"])
    assert (reads < 150) == (declared != "wrong")


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_limit_of_what_has_no_classes_is_drawn_at_random(build, task):
    body = TABLE.format(targets="(torch.arange(n) < n // 2).float().unsqueeze(1)")
    bundle = build(body, task=task, limit=20, args={"n": 1000})
    assert len(bundle.train) == bundle.outputs.examples == 20
    read = torch.cat([batch.targets for batch in bundle.train.batches(6)])
    assert read.equal(bundle.train.targets)


def test_a_random_subset_depends_on_its_seed_alone():
    targets = torch.rand(500, 2)
    state = torch.get_rng_state()
    first = subset(targets, 100, seed=0)
    assert first.equal(subset(targets + 1, 100, seed=0))
    assert not first.equal(subset(targets, 100, seed=1))
    assert torch.get_rng_state().equal(state)
    assert first.equal(first.unique())
    assert len(first) == 100
    assert 200 < first.double().mean() < 300
    assert subset(targets, 500, seed=0).equal(torch.arange(500))


def test_digits_can_be_told_by_traits(load):
    plain, traits = load("digits"), load({"kind": "digits", "predict": "traits"})
    assert plain.indices == traits.indices
    assert traits.classes == ("even", "prime", "above 4", "loop")
    of_digit = {
        0: [1, 0, 0, 1],
        1: [0, 0, 0, 0],
        2: [1, 1, 0, 0],
        3: [0, 1, 0, 0],
        4: [1, 0, 0, 0],
        5: [0, 1, 1, 0],
        6: [1, 0, 1, 1],
        7: [0, 1, 1, 0],
        8: [1, 0, 1, 1],
        9: [0, 0, 1, 1],
    }
    for name in ("train", "val", "test"):
        digits = getattr(plain, name).targets.tolist()
        found = getattr(traits, name).targets
        assert found.dtype == torch.float32
        assert found.tolist() == [of_digit[digit] for digit in digits]
    positives = traits.train.targets.sum(0).tolist()
    assert traits.outputs == OutputSpec(
        4, tuple(map(int, positives)), task="multi_label", examples=len(traits.train)
    )


@pytest.mark.parametrize("fields", [{}, {"image_size": 12}, {"limit": 100}])
def test_digits_have_ink(load, fields):
    bundle = load({"kind": "digits", "predict": "ink", **fields})
    means = load_digits().images.mean((1, 2)) / 16
    assert bundle.classes == ("ink",)
    for name in ("train", "val", "test"):
        targets = getattr(bundle, name).targets
        assert targets.shape == (len(bundle.indices[name]), 1)
        assert np.abs(targets[:, 0].numpy() - means[bundle.indices[name]]).max() < 0.5 / 255
    assert bundle.outputs.target_mean[0] == pytest.approx(bundle.train.targets.mean().item())
    spread = bundle.train.targets.std(correction=0).item()
    assert bundle.outputs.target_std[0] == pytest.approx(spread, rel=1e-5)


@pytest.mark.parametrize(
    ("predict", "outputs"),
    [
        ("digit", OutputSpec(10)),
        ("traits", OutputSpec(4, task="multi_label")),
        ("ink", OutputSpec(1, task="regression")),
    ],
)
def test_digits_announce_their_task(predict, outputs):
    spec = TypeAdapter(Data).validate_python({"kind": "digits", "predict": predict})
    assert spec.outputs() == outputs
    assert spec.task == outputs.task
