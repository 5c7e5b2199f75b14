"""Every kind of data, on small stand-ins for the real files."""

from __future__ import annotations

import pickle
import struct
import urllib.error
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from sklearn.datasets import load_digits
from torchvision import datasets

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data import Data

NAMES = [kind_of(member) for member in members(Data)]
TORCHVISION = ["mnist", "fashion_mnist", "cifar10", "cifar100"]


def write_idx(folder: Path, part: str, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    images = struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
    labels = struct.pack(">II", 0x801, count) + bytes(number % 10 for number in range(count))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def write_cifar(folder: Path, name: str, count: int, key: str, classes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)
    labels = [number % classes for number in range(count)]
    (folder / name).write_bytes(pickle.dumps({"data": pixels, key: labels}))


@pytest.fixture
def config(request, tmp_path, monkeypatch, image_folder, user_code):
    """A config of the kind that the test is parametrised with, and its data."""
    kind = request.param
    if kind in ("mnist", "fashion_mnist"):
        raw = tmp_path / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[kind] / "raw"
        write_idx(raw, "train", 100)
        write_idx(raw, "t10k", 20)
    if kind in ("cifar10", "cifar100"):
        monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
        monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    if kind == "cifar10":
        folder = tmp_path / "cifar-10-batches-py"
        for number in range(1, 6):
            write_cifar(folder, f"data_batch_{number}", 20, "labels", 10)
        write_cifar(folder, "test_batch", 10, "labels", 10)
        names = {"label_names": [f"n{number}" for number in range(10)]}
        (folder / "batches.meta").write_bytes(pickle.dumps(names))
    if kind == "cifar100":
        folder = tmp_path / "cifar-100-python"
        write_cifar(folder, "train", 1000, "fine_labels", 100)
        write_cifar(folder, "test", 100, "fine_labels", 100)
        names = {"fine_label_names": [f"n{number}" for number in range(100)]}
        (folder / "meta").write_bytes(pickle.dumps(names))
    if kind == "image_folder":
        image_folder({"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 2})
    if kind == "custom":
        module = user_code(
            "def make():\n"
            "    x, y = torch.rand(20, 3, 4, 4), torch.arange(20) % 2\n"
            "    return TensorDataset(x, y), TensorDataset(x[:4], y[:4])\n"
        )
        return {"kind": "custom", "target": f"{module}:make"}
    return {"kind": kind, "root": str(tmp_path)}


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_every_kind_builds_what_it_announces(load, config):
    spec = TypeAdapter(Data).validate_python(config)
    bundle = load(config)
    assert bundle.input_shape == (spec.input_shape() or bundle.input_shape)
    announced = spec.outputs() or OutputSpec(len(bundle.classes), task=spec.task)
    assert (bundle.outputs.size, bundle.outputs.task) == (announced.size, announced.task)
    assert announced.task == "single_label"
    assert (announced.class_counts, announced.examples) == ((), 0)
    assert bundle.outputs.examples == len(bundle.train)
    assert type(spec).source
    assert sum(bundle.outputs.class_counts) == len(bundle.train) > 0
    batch = next(bundle.training_batches(8, generator=torch.Generator()))
    assert batch.inputs.shape == (8, *bundle.input_shape)
    assert batch.inputs.dtype == torch.float32
    assert batch.targets.dtype == torch.int64
    for split in (bundle.train, bundle.val, bundle.test):
        if split is not None:
            read = torch.cat([batch.targets for batch in split.batches(7)])
            assert read.equal(split.targets)


@pytest.mark.parametrize("config", [name for name in NAMES if name != "custom"], indirect=True)
def test_every_source_is_divided_by_the_seed_and_resized(load, config):
    first, again, other = load(config), load(config), load(config, seed=1)
    assert first.indices == again.indices
    assert first.indices["val"] != other.indices["val"]
    assert not set(first.indices["train"]) & set(first.indices["val"])
    assert len(first.indices["train"]) == len(first.train)
    assert load(config | {"image_size": 12}).input_shape[1:] == (12, 12)
    assert len(load(config | {"limit": 10}).train) == 10


@pytest.mark.parametrize("config", TORCHVISION, indirect=True)
def test_torchvisions_images_are_taken_over_exactly(load, config):
    bundle = load(config)
    spec = TypeAdapter(Data).validate_python(config)
    source = spec.reader()(config["root"], train=True)
    place = bundle.indices["train"][3]
    image, label = source[place]
    raw = bundle.train.examples(torch.tensor([3]))
    expected = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    assert np.array_equal(raw.inputs[0], expected)
    assert raw.targets.item() == label


def test_what_does_not_fit_resized_is_resized_batch_by_batch(load, monkeypatch):
    config = {"kind": "digits", "image_size": 16}
    now = load(config)
    monkeypatch.setattr("nnrecipe.data.source.RESIDENT_BYTES", 1000)
    later = load(config)
    for one, other in zip(now.train.batches(300), later.train.batches(300), strict=True):
        assert one.inputs.equal(other.inputs)
    assert later.input_shape == now.input_shape == (1, 16, 16)
    assert later.preprocessing.std.equal(now.preprocessing.std)


@pytest.mark.parametrize("kind", TORCHVISION)
def test_absent_files_are_explained(load, kind, tmp_path):
    with pytest.raises(
        UserError, match=r"looked for .*: not found: put .*, or allow data.download"
    ):
        load({"kind": kind, "root": str(tmp_path), "download": False})


@pytest.mark.parametrize("kind", TORCHVISION)
def test_a_failed_download_is_explained(load, kind, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", offline)
    with pytest.raises(UserError, match=r"downloading failed.*: put the files there"):
        load({"kind": kind, "root": str(tmp_path)})


def test_a_broken_file_is_explained(load, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw, "train", 60)
    write_idx(raw, "t10k", 20)
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\0")
    with pytest.raises(UserError, match=r"^data.root: .*: put the files there"):
        load({"kind": "mnist", "root": str(tmp_path), "download": False})


def test_the_root_is_the_environments(monkeypatch):
    monkeypatch.setenv("NNRECIPE_DATA", "elsewhere")
    assert TypeAdapter(Data).validate_python("mnist").root == Path("elsewhere")
    monkeypatch.delenv("NNRECIPE_DATA")
    assert TypeAdapter(Data).validate_python("mnist").root == Path("data")


def test_digits_are_sklearns_in_eight_bits_with_a_fixed_test_set(load):
    first, other = load("digits"), load("digits", seed=5)
    assert (len(first.train), len(first.val), len(first.test)) == (1294, 144, 359)
    assert first.indices["test"] == other.indices["test"]
    raw = first.test.examples(torch.arange(359)).inputs
    expected = load_digits().images[first.indices["test"]] / 16 * 255
    assert np.abs(raw[:, 0].numpy() - expected).max() <= 0.5
    places = sorted(chain(*first.indices.values()))
    assert places == list(range(1797))


def test_fashion_mnist_for_real(load, shared_data):
    if not (shared_data / "FashionMNIST").is_dir():
        pytest.skip(f"no FashionMNIST in {shared_data}")
    bundle = load({"kind": "fashion_mnist", "root": str(shared_data), "download": False})
    assert bundle.outputs.class_counts == (5400,) * 10
    assert bundle.preprocessing.mean.item() == pytest.approx(0.286, abs=1e-3)
    assert bundle.preprocessing.std.item() == pytest.approx(0.353, abs=1e-3)


@pytest.mark.parametrize("config", [*TORCHVISION, "digits"], indirect=True)
def test_chosen_classes_are_numbered_as_they_are_named(load, config):
    whole = load(config)
    chosen = [whole.classes[3], whole.classes[1], whole.classes[2]]
    part = load(config | {"classes": chosen})
    assert part.classes == tuple(chosen)
    assert part.outputs.size == 3
    assert set(part.val.targets.tolist()) <= {0, 1, 2}
    labels = {}  # of every place in the source
    for name in ("train", "val"):
        split = getattr(whole, name)
        labels |= dict(zip(whole.indices[name], split.targets.tolist(), strict=True))
    expected = [whole.classes[labels[place]] for place in part.indices["train"]]
    assert [part.classes[label] for label in part.train.targets.tolist()] == expected
    counts = [(whole.test.targets == whole.classes.index(name)).sum().item() for name in chosen]
    assert part.test.targets.bincount().tolist() == counts


def test_chosen_folders_alone_are_read(load, image_folder):
    folders = {f"{part}/{name}": 10 for part in ("train", "test") for name in ("cat", "cow", "dog")}
    root = image_folder(folders)
    bundle = load({"kind": "image_folder", "root": str(root), "classes": ["dog", "cat"]})
    assert bundle.classes == ("dog", "cat")
    assert bundle.test.targets.bincount().tolist() == [10, 10]
    whole = load({"kind": "image_folder", "root": str(root)})
    dogs = whole.test.examples(torch.where(whole.test.targets == 2)[0]).inputs
    assert bundle.test.examples(torch.where(bundle.test.targets == 0)[0]).inputs.equal(dogs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"classes": ["1", "x"]}, "no class 'x'"),
        ({"classes": ["1", "1"]}, "twice"),
        ({"classes": ["1"]}, "at least 2"),
        ({"classes": ["1", "2"], "predict": "ink"}, "has no classes"),
    ],
)
def test_classes_that_are_not_there_are_refused(load, config, message):
    with pytest.raises(ValueError, match=message):
        load({"kind": "digits", **config})


@pytest.mark.parametrize("config", ["fashion_mnist", "image_folder"], indirect=True)
def test_unknown_classes_are_told_from_those_that_there_are(load, config):
    with pytest.raises(UserError, match=r"data\.classes: no class 'zebra'.*: the data have \w+"):
        load(config | {"classes": ["zebra", "cat"]})
