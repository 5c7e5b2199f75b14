from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_data"


def fetch(archive, root):
    command = [sys.executable, SCRIPT, archive, "--root", root]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write_archive(path, names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"bytes"))
    return path


@pytest.mark.parametrize("top", ["cifar10/", ""])
def test_it_unpacks_for_use_as_an_image_folder(tmp_path, top):
    names = [f"{top}train/cat/0.jpg", f"{top}test/cat/0.jpg"]
    archive = write_archive(tmp_path / "a.tar.gz", names)
    done = fetch(archive, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "data" / "cifar10-images"
    assert f"data.root={folder}" in done.stdout
    assert (folder / "train" / "cat" / "0.jpg").read_bytes() == b"bytes"
    assert (folder / "test" / "cat" / "0.jpg").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["cifar10-images"]
    assert "there already" in fetch(archive, tmp_path / "data").stdout


@pytest.mark.parametrize("names", [["../train/cat/0.jpg"], ["cifar10/other/0.jpg"]])
def test_a_useless_archive_leaves_nothing_behind(tmp_path, names):
    done = fetch(write_archive(tmp_path / "a.tar.gz", names), tmp_path / "data")
    assert done.returncode == 2
    assert done.stderr.startswith("fetch_data: ")
    assert list((tmp_path / "data").iterdir()) == []
    assert not (tmp_path / "train").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.tar.gz").write_text("text")
    assert fetch(tmp_path / "a.tar.gz", tmp_path).returncode == 2
    assert fetch(tmp_path / "absent", tmp_path).returncode == 2
