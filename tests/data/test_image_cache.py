from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from nnrecipe.cli import main
from nnrecipe.core.errors import UserError
from nnrecipe.data import ResidentSplit, StreamedSplit
from nnrecipe.data.image_cache import FORGOTTEN, PART, default_folder
from nnrecipe.data.image_files import ImageReader
from nnrecipe.data.mapped import MappedSplit

FOLDERS = {"train/cat": 30, "train/dog": 32, "test/cat": 5, "test/dog": 4}


@pytest.fixture
def photos(image_folder):
    return image_folder(FOLDERS)


@pytest.fixture
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def much(monkeypatch):
    """Any folder is large enough for `cache: auto`."""
    monkeypatch.setattr("nnrecipe.data.image_folder.MUCH", 1)


def config(root, **fields):
    return {"kind": "image_folder", "root": str(root), "val_fraction": 0.2, **fields}


def everything(split):
    return torch.cat([batch.inputs for batch in split.batches(4)])


def epoch(bundle):
    batches = bundle.training_batches(5, generator=torch.Generator().manual_seed(3))
    return torch.cat([batch.inputs for batch in batches])


def refuse_to_decode(monkeypatch):
    def blocks(self):
        raise AssertionError("decoded again")
        yield

    monkeypatch.setattr(ImageReader, "blocks", blocks)


@pytest.fixture
def too_large(monkeypatch):
    """Any file is too large to be kept in memory, so that threads read ahead."""
    monkeypatch.setattr("nnrecipe.data.mapped.KEPT", 0.0)


def test_threads_read_only_what_outgrows_the_memory(load, photos, kept, monkeypatch):
    given = config(photos, cache=str(kept), resident="never")
    started = []
    monkeypatch.setattr(
        "nnrecipe.data.mapped.ThreadPoolExecutor",
        lambda count: started.append(count) or ThreadPoolExecutor(count),
    )
    everything(load(given, workers=2).train)
    assert not started
    monkeypatch.setattr("nnrecipe.data.mapped.KEPT", 0.0)
    everything(load(given, workers=2).train)
    assert set(started) == {2}


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fields", [{}, {"image_size": 5}])
@pytest.mark.usefixtures("too_large")
def test_it_changes_nothing(load, photos, kept, resident, workers, fields):
    given = config(photos, resident=resident, **fields)
    without = load({**given, "cache": "off"})
    for _ in ("written", "found"):
        cached = load({**given, "cache": str(kept)}, workers=workers)
        assert isinstance(cached.train, ResidentSplit if resident == "always" else MappedSplit)
        assert cached.indices == without.indices
        for name in ("train", "val", "test"):
            one, other = getattr(without, name), getattr(cached, name)
            assert everything(one).equal(everything(other))
            assert one.targets.equal(other.targets)
        places = torch.tensor([7, 1, 7])
        assert without.val.examples(places).inputs.equal(cached.val.examples(places).inputs)
    held = load(config(photos, resident="always", cache="off", **fields))
    assert epoch(cached).equal(epoch(held))


def test_images_are_decoded_once_whatever_the_split(load, photos, kept, monkeypatch):
    load(config(photos, cache=str(kept)))
    (path,) = kept.iterdir()
    assert np.load(path).shape == (71, 3, 6, 8)
    refuse_to_decode(monkeypatch)
    for seed in (0, 1):
        for resident in ("always", "never"):
            load(config(photos, cache=str(kept), resident=resident, val_fraction=0.3), seed=seed)
    assert list(kept.iterdir()) == [path]


def test_gray_images_stay_gray(load, image_folder, kept):
    root = image_folder(FOLDERS, mode="L")
    for _ in ("written", "found"):
        assert load(config(root, cache=str(kept))).input_shape == (1, 6, 8)


def test_auto_keeps_much_data_in_the_users_cache_folder(load, photos, caches, much):
    load(config(photos))
    assert [path.suffix for path in (caches / "nnrecipe" / "images").iterdir()] == [".npy"]


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_little_data_and_off_leave_nothing(load, photos, caches, cache):
    bundle = load(config(photos, cache=cache, resident="never"))
    assert isinstance(bundle.train, StreamedSplit)
    assert list(caches.iterdir()) == []


def test_off_holds_for_much_data(load, photos, caches, much):
    load(config(photos, cache="off"))
    assert list(caches.iterdir()) == []


def test_a_relative_cache_folder_of_the_environment_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "nnrecipe" / "images"


def test_a_changed_file_is_read_anew(load, photos, kept):
    given = config(photos, cache=str(kept))
    load(given)
    Image.new("RGB", (8, 6), "red").save(photos / "test" / "cat" / "00.png")
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 6, 8)
    assert everything(load(given).test)[0].equal(red)
    (photos / "test" / "cat" / "00.png").unlink()
    assert len(load(given).test) == 8
    assert len(list(kept.iterdir())) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:100],
        lambda whole: b"",
        lambda whole: b"no array",
        lambda whole: whole + b"more",
    ],
    ids=["cut off", "in its head", "empty", "no array", "too long"],
)
@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_damaged_file_is_made_anew(load, photos, kept, damage, resident):
    given = config(photos, cache=str(kept), resident=resident)
    expected = everything(load(given).train)
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert everything(load(given).train).equal(expected)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_leaves_no_file(load, photos, kept, workers):
    path = photos / "train" / "cat" / "04.png"
    path.write_text("no image")
    with pytest.raises(UserError, match=r"04.png can't be read as an image.*mend or remove it"):
        load(config(photos, cache=str(kept)), workers=workers)
    assert list(kept.iterdir()) == []


def test_a_link_that_leads_nowhere_is_a_broken_image(load, photos):
    (photos / "train" / "cat" / "zz.png").symlink_to("nothing.png")
    with pytest.raises(UserError, match=r"zz.png can't be read as an image.*mend or remove it"):
        load(config(photos))


def test_a_folder_that_was_named_and_cannot_be_used_is_an_error(load, photos, kept):
    (kept / "file").write_text("")
    message = r"data.cache: .*file: .*can't be kept: .*: name a folder .*, or set it to off"
    with pytest.raises(UserError, match=message):
        load(config(photos, cache=str(kept / "file")))


@pytest.mark.parametrize(("resident", "kind"), [("auto", ResidentSplit), ("never", StreamedSplit)])
def test_auto_does_without_where_the_folder_cannot_be_used(
    load, photos, caches, much, resident, kind
):
    (caches / "nnrecipe").write_text("a file, no folder")
    with pytest.warns(UserWarning, match=r"data.cache: auto: .*can't be kept.*set it to off"):
        bundle = load(config(photos, resident=resident))
    assert isinstance(bundle.train, kind)
    off = load(config(photos, resident="always", cache="off"))
    assert everything(bundle.train).equal(everything(off.train))


class FullDisk:
    f_bavail, f_frsize = 1, 512


def test_a_full_disk_is_noticed_before_anything_is_decoded(load, photos, kept, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: FullDisk)
    refuse_to_decode(monkeypatch)
    with pytest.raises(UserError, match=r"can't be kept: they take .* MiB, and .* MiB are free"):
        load(config(photos, cache=str(kept)))
    assert list(kept.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(load, photos, caches, much, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        bundle = load(config(photos))
    assert len(everything(bundle.test)) == 9
    assert list((caches / "nnrecipe" / "images").iterdir()) == []


def test_many_may_make_it_at_once(load, photos, kept):
    given = config(photos, cache=str(kept), resident="never")
    with ThreadPoolExecutor(4) as threads:
        bundles = list(threads.map(lambda _: load(given), range(8)))
    expected = everything(load(given).train)
    assert all(everything(bundle.train).equal(expected) for bundle in bundles)
    assert [path.suffix for path in kept.iterdir()] == [".npy"]


def test_what_dead_processes_left_is_removed(load, photos, kept):
    old, new = kept / f"old{PART}", kept / f"new{PART}"
    for path, age in ((old, 2 * FORGOTTEN), (new, 60)):
        path.write_text("")
        os.utime(path, (time.time() - age,) * 2)
    load(config(photos, cache=str(kept)))
    assert not old.exists()
    assert new.exists()


@pytest.mark.usefixtures("too_large")
def test_a_pass_that_is_given_up_disturbs_no_other(load, photos, kept):
    split = load(config(photos, cache=str(kept), resident="never"), workers=2).train
    passed = split.batches(3)
    first = next(passed).inputs
    assert everything(split)[:3].equal(first)
    passed.close()
    assert everything(split)[:3].equal(first)


def test_a_run_with_a_cache_is_a_run_without(image_folder, tmp_path, kept, capsys):
    root = image_folder(FOLDERS)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {{kind: image_folder, root: {root}, augment: [horizontal_flip]}}\n"
        "architecture: {kind: mlp, widths: [4]}\ntraining: {epochs: 2, batch_size: 8}\n"
        "optimizer: {kind: sgd, lr: 0.01}\nstages: [train]\nseed: 1\n"
    )

    def run(*overrides):
        output = kept.parent / f"{kept.name}-run{len(overrides)}"
        assert main(["run", str(recipe), "--output", str(output), *overrides]) in (0, 1)
        lines = (output / "metrics.jsonl").read_text().splitlines()
        return [line for line in lines if "seconds" not in line]

    plain = run("data.cache=off")
    assert plain == run(f"data.cache={kept}", "data.resident=never", "training.workers=1")
    assert plain == run(f"data.cache={kept}", "data.resident=always")
    assert main(["validate", str(recipe), "data.cache=3"]) == 2
    assert "data.cache: must be one of auto, off or a path, got 3" in capsys.readouterr().err
    assert main(["validate", str(recipe), "data.cache=of"]) == 2
    assert "give auto, off, or the path of a folder (./of)" in capsys.readouterr().err
    assert len(list(kept.iterdir())) == 1
