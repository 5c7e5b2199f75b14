"""What the tests share: where real data lie, and one thread for each of their processes."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# Before torch is imported, and for the commands that tests start: small tensors gain nothing from
# a second thread, and the workers of pytest-xdist already use every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """The folder of real data sets: NNRECIPE_TEST_DATA, else `../shared/data`. Skips without it."""
    beside = pytestconfig.rootpath.parent / "shared" / "data"
    folder = Path(os.environ.get("NNRECIPE_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs real data: no folder {folder} (set NNRECIPE_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def cifar10_folder(shared_data: Path) -> Path:
    """CIFAR-10 as an image folder: `train/<class>/*.jpg` and `test/<class>/*.jpg`.

    It is unpacked once for each user and archive. The rename at the end is atomic, so that a
    second worker sees all of it or nothing; the one that comes late throws its copy away.
    """
    archive = shared_data / "cifar10-images.tar.gz"
    if not archive.is_file():
        pytest.skip(f"needs real data: no archive {archive}")
    cache = Path(tempfile.gettempdir()) / f"nnrecipe-tests-{getpass.getuser()}"
    folder = cache / f"cifar10-{archive.stat().st_size}"
    if not folder.is_dir():
        cache.mkdir(mode=0o700, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(dir=cache))
        # Six times as fast as tarfile for these 60,000 small files.
        subprocess.run(["tar", "xzf", archive, "-C", unpacked], check=True)
        try:
            (unpacked / "cifar10").rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        shutil.rmtree(unpacked)
    return folder
