"""Several tasks on the same examples: what their targets are, and how they lie together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits

from nnrecipe.core.errors import UserError
from nnrecipe.data import Data

PARITY = {"kind": "groups", "groups": {"even": list("02468"), "odd": list("13579")}}
TASKS = {"digit": "label", "parity": PARITY, "ink": "mean_intensity", "area": "ink_area"}
TABLE = """
def make(n=40):
    x = torch.rand(n, 6)
    y = torch.stack([torch.arange(n) % 3, x.sum(1), (x[:, 0] > 0.5).float()], 1)
    whole = TensorDataset(x, y)
    return whole, Subset(whole, range(10)), Subset(whole, range(10, 25))
"""
STREAM = """
class Rows(Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.full((6,), float(i)), (i % 3, i / 2, i % 2)
def make(): return Rows(40), Rows(10)
"""


@pytest.fixture
def build(load, user_code):
    def run(body, **fields):
        config = {
            "kind": "custom",
            "target": f"{user_code(body)}:make",
            "task": "regression",
            **fields,
        }
        return load(config)

    return run


def test_the_targets_are_what_they_say(load):
    data = load({"kind": "digits", "tasks": TASKS})
    source = load_digits()
    for split, name in ((data.train, "train"), (data.val, "val"), (data.test, "test")):
        places = data.indices[name]
        digits, images = source.target[places], source.images[places].round() / 16
        found = split.targets.numpy()
        np.testing.assert_array_equal(found[:, 0], digits)
        np.testing.assert_array_equal(found[:, 1], digits % 2)
        np.testing.assert_allclose(found[:, 2], images.mean((1, 2)), atol=2e-3)
        levels = np.rint(source.images[places] * 255 / 16) / 255
        np.testing.assert_allclose(found[:, 3], (levels > 0.5).mean((1, 2)), atol=1e-6)


def test_the_heads_stand_in_a_row(load):
    data = load({"kind": "digits", "tasks": TASKS})
    assert data.outputs.task == "several"
    assert (data.outputs.size, data.outputs.examples) == (14, len(data.train))
    assert [(h.name, h.first_output, h.first_target) for h in data.outputs.heads] == [
        ("digit", 0, 0), ("parity", 10, 1), ("ink", 12, 2), ("area", 13, 3),
    ]  # fmt: skip
    parity, ink = data.outputs.heads[1].outputs, data.outputs.heads[2].outputs
    assert sum(parity.class_counts) == len(data.train)
    assert ink.target_mean[0] == pytest.approx(float(data.train.targets[:, 2].mean()), rel=1e-5)
    assert data.classes[9:13] == ("digit: 9", "parity: even", "parity: odd", "ink: mean_intensity")
    spec = TypeAdapter(Data).validate_python({"kind": "digits", "tasks": TASKS})
    assert (spec.predicts, spec.task, spec.outputs().size) == ("several", "single_label", 14)


def test_one_task_alone_is_as_if_it_had_been_declared_so(load):
    data, plain = load({"kind": "digits", "tasks": TASKS}), load({"kind": "digits"})
    own = data.of(data.outputs.heads[0])
    assert (own.classes, own.outputs) == (plain.classes, plain.outputs)
    assert torch.equal(own.val.targets, plain.val.targets)
    mine, theirs = (next(bundle.batches(bundle.val, 16)) for bundle in (own, plain))
    assert torch.equal(mine.inputs, theirs.inputs)
    assert torch.equal(mine.targets, theirs.targets)
    assert mine.targets.dtype == torch.int64


def test_batches_come_with_their_own_rows(load):
    data = load({"kind": "digits", "tasks": TASKS})
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))
    batches = list(data.train.batches(100, order=order))
    assert torch.equal(torch.cat([targets for _, targets in batches]), data.train.targets[order])
    inputs = torch.cat([inputs for inputs, _ in batches]).double() / 255
    assert torch.allclose(
        inputs.flatten(1).mean(1).float(), data.train.targets[order, 2], atol=1e-6
    )


@pytest.mark.parametrize("body", [TABLE, STREAM], ids=["table", "stream"])
def test_columns_of_ones_own_rows(build, body):
    data = build(
        body,
        tasks={
            "kind": {"kind": "columns", "columns": [0], "task": "single_label"},
            "size": {"kind": "columns", "columns": [1]},
            "sign": {"kind": "columns", "columns": [2], "task": "multi_label"},
        },
    )
    assert [head.outputs.task for head in data.outputs.heads] == [
        "single_label", "regression", "multi_label",
    ]  # fmt: skip
    assert data.outputs.size == 5
    assert torch.equal(data.train.targets[:, 0], torch.arange(40) % 3)
    _, targets = next(data.batches(data.val, 5))
    assert torch.equal(targets, data.val.targets[:5])


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (
            {"p": {"kind": "groups", "groups": {"a": ["0", "x"], "b": ["1"]}}},
            r"tasks\.p\.groups: no",
        ),
        ({"p": {"kind": "groups", "groups": {"a": ["0"], "b": ["1"]}}}, "2, 3, .* in no group"),
        ({"p": {"kind": "columns", "columns": [0]}}, r"tasks\.p\.columns: \[0\]: .*class numbers"),
    ],
)
def test_what_the_data_do_not_give_is_told(load, tasks, said):
    with pytest.raises(UserError, match=said):
        load({"kind": "digits", "tasks": tasks})


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"columns": [3]}, r"columns: \[3\]: the data have rows of 3"),
        ({"columns": [1], "task": "single_label"}, "must be class numbers"),
        ({"columns": [0], "task": "single_label", "classes": 2}, r"classes: 2: a row has class 2"),
    ],
)
def test_columns_that_are_not_so_are_told(build, task, said):
    with pytest.raises(UserError, match=rf"data\.tasks\.t.*{said}"):
        build(TABLE, tasks={"t": {"kind": "columns", **task}})


@pytest.mark.parametrize(
    "tasks",
    [
        {},
        {"Two words": "label"},
        {"p": {"kind": "groups", "groups": {"a": ["0", "1"]}}},
        {"p": {"kind": "groups", "groups": {"a": ["0", "1"], "b": ["1"]}}},
        {"p": {"kind": "columns", "columns": [0, 1], "task": "single_label"}},
        {"p": "nothing"},
    ],
)
def test_what_is_no_task_is_refused(tasks):
    with pytest.raises(ValidationError):
        TypeAdapter(Data).validate_python({"kind": "digits", "tasks": tasks})
