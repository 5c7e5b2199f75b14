from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from nnrecipe.core.errors import UserError

READY = {"train/cat": 10, "train/dog": 12, "test/cat": 3, "test/dog": 2}


def config(root, **fields):
    return {"kind": "image_folder", "root": str(root), "val_fraction": 0.2, **fields}


def everything(split):
    return torch.cat([batch.inputs for batch in split.batches(4)])


@pytest.mark.parametrize("resident", ["always", "never"])
def test_pixels_and_classes_are_those_of_the_files(load, image_folder, resident):
    root = image_folder(READY)
    bundle = load(config(root, resident=resident))
    assert bundle.classes == ("cat", "dog")
    assert bundle.input_shape == (3, 6, 8)
    files = [root / "train" / "cat" / f"{n:02}.png" for n in range(10)]
    files += [root / "train" / "dog" / f"{n:02}.png" for n in range(12)]
    for name, split in (("train", bundle.train), ("val", bundle.val)):
        places = bundle.indices[name]
        expected = np.stack([np.asarray(Image.open(files[place])) for place in places])
        assert np.array_equal(everything(split), expected.transpose(0, 3, 1, 2))
        assert split.targets.tolist() == [int(place >= 10) for place in places]
    assert bundle.test.targets.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("fields", [{}, {"image_size": 5}])
def test_streaming_gives_what_residency_gives(load, image_folder, fields):
    root = image_folder(READY)
    held = load(config(root, resident="always", **fields))
    streamed = load(config(root, resident="never", **fields), workers=1)
    assert everything(held.train).equal(everything(streamed.train))
    assert torch.allclose(held.preprocessing.mean, streamed.preprocessing.mean)
    batches = [
        list(bundle.training_batches(4, generator=torch.Generator().manual_seed(2)))
        for bundle in (held, streamed)
    ]
    for one, other in zip(*batches, strict=True):
        assert torch.allclose(one.inputs, other.inputs, atol=1e-5)
        assert one.targets.equal(other.targets)


def test_workers_fill_the_memory_alike(load, image_folder):
    root = image_folder({"a": 300, "b": 300})
    alone, together = load(config(root)), load(config(root), workers=2)
    assert everything(alone.train).equal(everything(together.train))


def test_class_folders_alone_give_a_test_split_too(load, image_folder):
    bundle = load(config(image_folder({"a": 20, "b": 30}), test_fraction=0.1))
    assert (len(bundle.train), len(bundle.val), len(bundle.test)) == (36, 9, 5)
    assert sorted(chain(*bundle.indices.values())) == list(range(50))


def test_a_validation_folder_is_used(load, image_folder):
    bundle = load(config(image_folder(READY | {"val/cat": 1, "val/dog": 2})))
    assert (len(bundle.train), len(bundle.val)) == (22, 3)
    assert set(bundle.indices) == {"train"}


def test_without_a_test_folder_there_is_no_test_split(load, image_folder):
    assert load(config(image_folder({"train/cat": 10, "train/dog": 10}))).test is None


def test_gray_files_stay_gray_unless_one_is_coloured(load, image_folder):
    root = image_folder(READY, mode="L")
    assert load(config(root)).input_shape == (1, 6, 8)
    Image.new("RGB", (8, 6), "red").save(root / "test" / "dog" / "00.png")
    assert load(config(root)).input_shape == (3, 6, 8)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "LA"])
def test_other_modes_are_converted(load, image_folder, mode):
    root = image_folder(READY, mode="L" if mode in ("1", "LA") else "RGB")
    suffix = "tiff" if mode == "CMYK" else "png"
    Image.new("RGB", (8, 6), "white").convert(mode).save(root / f"train/cat/zz.{suffix}")
    bundle = load(config(root))
    assert bundle.input_shape[0] == (1 if mode in ("1", "LA") else 3)


def test_resizing_is_pils(load, image_folder):
    root = image_folder({"train/cat": 2, "train/dog": 2}, size=(20, 30))
    bundle = load(config(root, image_size=7, val_fraction=0.5))
    path = root / "train" / "cat" / f"{bundle.indices['train'][0]:02}.png"
    expected = np.asarray(Image.open(path).resize((7, 7), Image.Resampling.BILINEAR))
    assert np.array_equal(everything(bundle.train)[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("workers", [0, 1])
def test_faulty_files_are_named(load, image_folder, resident, workers):
    root = image_folder(READY)
    given = config(root, resident=resident)
    path = root / "train" / "cat" / "04.png"

    Image.new("RGB", (9, 9)).save(path)
    with pytest.raises(UserError, match=r"8x6, .*04.png is 9x9: set data.image_size"):
        everything(load(given, workers=workers).train)
    path.write_bytes((root / "train" / "cat" / "05.png").read_bytes()[:80])
    with pytest.raises(UserError, match=r"04.png can't be read as an image.*mend or remove it"):
        everything(load(given, workers=workers).train)
    Image.fromarray(np.full((6, 8), 999, dtype=np.uint16)).save(path)
    with pytest.raises(UserError, match=r"04.png .*more than 8 bits"):
        everything(load(given, workers=workers).train)
    path.write_text("no image")
    with pytest.raises(UserError, match=r"04.png can't be read as an image"):
        everything(load(given, workers=workers).train)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "class folders in .*: none; at least two"),
        ({"cat": 3}, "class folders in .*: cat; at least two"),
        ({"cat": 0, "dog": 0}, "hold no images"),
        ({"cat": 9, "dog": 1}, "data.test_fraction: 0.1: class 'dog' has 1 example"),
        (READY | {"test/cow": 1}, "classes that train/ lacks: cow"),
    ],
)
def test_a_wrong_layout_is_explained(load, image_folder, folders, message):
    with pytest.raises(UserError, match=message):
        load(config(image_folder(folders)))


def test_a_missing_folder_is_named(load, tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere: expected train/<class>/"):
        load(config(tmp_path / "nowhere"))


def test_hidden_files_are_passed_over(load, image_folder):
    root = image_folder(READY)
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "._00.png").write_bytes(b"metadata of a Mac")
    assert load(config(root)).classes == ("cat", "dog")


@pytest.mark.slow
def test_cifar10_images_for_real(load, cifar10_folder):
    bundle = load({"kind": "image_folder", "root": str(cifar10_folder)})
    assert (len(bundle.train), len(bundle.val), len(bundle.test)) == (45000, 5000, 10000)
    assert bundle.input_shape == (3, 32, 32)
    assert bundle.outputs.class_counts == (4500,) * 10
    published = torch.tensor([0.4914, 0.4822, 0.4465])
    assert torch.allclose(bundle.preprocessing.mean.flatten(), published, atol=2e-3)
