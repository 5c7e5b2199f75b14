"""Decoded images in a file, so that they are decoded once whatever the number of runs."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

VERSION = 1  # of what is stored: a higher one lets the files of older versions lie
PART = ".part"  # ends the name of a file that is being written
FORGOTTEN = 24 * 3600.0  # seconds after which such a file is taken for a dead process's
READ_BYTES = 2**24  # at a time


def default_folder() -> Path:
    """`nnrecipe/images` in the user's cache folder. Raises `OSError` if there is no home folder."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():  # such are to be passed over
        caches = Path(os.path.expanduser("~/.cache"))
    if not caches.is_absolute():
        raise OSError("there is no home folder")
    return caches / "nnrecipe" / "images"


@dataclass(frozen=True)
class ImageCache:
    """`count` images as `path`, a NumPy file of uint8 `[N, C, H, W]`.

    The file appears under its name when it is whole, so processes that make it at once don't
    disturb each other. Its name tells what it was made of: files that have changed since, or that
    are to have another size, have another cache.
    """

    path: Path
    count: int

    @classmethod
    def of(cls, paths: Sequence[str], *, size: int | None, folder: Path) -> ImageCache:
        """The cache in `folder` of these image files, resized to `size`, in this order."""
        from PIL import __version__ as decoder

        made_of = hashlib.sha256(f"{VERSION} {decoder} {size}\n".encode())
        for path in paths:
            stat = os.stat(path)
            line = f"{os.path.abspath(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            made_of.update(os.fsencode(line))
        return cls(folder / f"{made_of.hexdigest()[:32]}.npy", len(paths))

    def is_whole(self) -> bool:
        """Whether the file is there, and undamaged."""
        try:
            pixels = np.load(self.path, mmap_mode="r")
            size = self.path.stat().st_size
        except (OSError, ValueError, EOFError):  # NumPy's, of a file cut off or not of its kind
            return False
        form = (pixels.dtype, pixels.ndim, pixels.shape[:1], pixels.offset + pixels.nbytes)
        return bool(form == (np.uint8, 4, (self.count,), size))

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of each image."""
        channels, height, width = self.mapped().shape[1:]
        return channels, height, width

    def mapped(self) -> Array:
        """All images, read from the file as they are used: `[N, C, H, W]`, not to be written."""
        return np.asarray(np.load(self.path, mmap_mode="r"))

    def blocks(self) -> Iterator[Array]:
        """All images in turn, `[B, C, H, W]` each; unlike `mapped` they don't add up in memory."""
        shape = self.shape
        length = math.prod(shape)
        with self.path.open("rb") as file:
            file.seek(-self.count * length, os.SEEK_END)
            while (block := np.fromfile(file, np.uint8, _rows(length) * length)).size:
                yield block.reshape(-1, *shape)

    def fill(self, blocks: Iterable[Array], shape: tuple[int, int, int]) -> None:
        """Write the images, which come in `blocks: [B, C, H, W]`, and give the file its name.

        Raises `OSError` if the folder can't be written to or has no room.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._clear_up()
        self._check_room(self.count * math.prod(shape))
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *shape)}
        with tempfile.NamedTemporaryFile(
            dir=self.path.parent, prefix=f"{self.path.stem}-", suffix=PART, delete=False
        ) as file:
            try:
                np.lib.format.write_array_header_1_0(file, header)
                for block in blocks:
                    file.write(np.ascontiguousarray(block).data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave a whole file of zeros
                os.replace(file.name, self.path)
            except BaseException:
                os.unlink(file.name)
                raise

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        if size > free:
            raise OSError(
                f"they take {size / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free"
            )

    def _clear_up(self) -> None:
        """Remove what processes that were killed have left."""
        for part in self.path.parent.glob(f"*{PART}"):
            try:
                if time.time() - part.stat().st_mtime > FORGOTTEN:
                    part.unlink()
            except OSError:  # another user's, or another process was faster
                continue


def _rows(length: int) -> int:
    return max(1, READ_BYTES // length)
