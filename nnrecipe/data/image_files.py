"""Image files as a Dataset."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nnrecipe.core.errors import UserError
from nnrecipe.data.images import GRAY_MODES, from_pil, gray_or_rgb

BLOCK = 256  # images at most that a worker reads at a time
BLOCK_BYTES = 2**22  # at most, unless it is a single image


@dataclass(frozen=True)
class ImageFormat:
    """What all images of a Dataset are made to be: `mode` is `L` or `RGB`.

    Files of another size than `width` x `height` are resized if `resize` is set, else refused;
    `model` is the file that the size was taken from.
    """

    mode: str
    width: int
    height: int
    resize: bool
    model: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return 1 if self.mode == "L" else 3, self.height, self.width

    @classmethod
    def of(cls, paths: Sequence[str], *, size: int | None) -> ImageFormat:
        """Gray if all files are gray; squares of side `size`, or as large as the first file.

        Raises `UserError` for a file that isn't an image.
        """
        from PIL import Image

        with blaming_file(paths[0]), Image.open(paths[0]) as first:
            width, height = first.size
        mode = "L" if all(_is_gray(paths)) else "RGB"
        return cls(mode, size or width, size or height, resize=size is not None, model=paths[0])


class ImageFiles(Dataset[Any]):
    """`(uint8 [C, H, W], class)` of each file."""

    def __init__(self, paths: Sequence[str], labels: Sequence[int], target: ImageFormat) -> None:
        self.target = target
        self._paths = paths
        self._labels = labels

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Raises `UserError` naming the file if it is broken or of another size."""
        return torch.from_numpy(read_image(self._paths[index], self.target)), self._labels[index]


def read_image(path: str, target: ImageFormat) -> np.ndarray[Any, Any]:
    """One image, uint8 `[C, H, W]`; NumPy's, as that takes half the time of torch's.

    Raises `UserError` naming the file if it is broken or of another size.
    """
    with blaming_file(path):
        pixels = decode(path, target)
    if pixels.shape != target.shape:
        _, height, width = pixels.shape
        raise UserError(
            f"data.root: the images differ in size: {target.model} is "
            f"{target.width}x{target.height}, {path} is {width}x{height}: "
            f"set data.image_size to resize them all"
        )
    return pixels


def decode(path: str, target: ImageFormat) -> np.ndarray[Any, Any]:
    """One image, uint8 `[C, H, W]`, of its own size if `target` doesn't resize.

    Raises what PIL raises, and `ValueError` for more than 8 bits a channel.
    """
    from PIL import Image

    with Image.open(path) as file:
        image = gray_or_rgb(file, mode=target.mode)
        if target.resize:
            image = image.resize((target.width, target.height), Image.Resampling.BILINEAR)
        return from_pil(image)


@dataclass(frozen=True)
class ImageReader:
    """Reads all of many files once, in `workers` processes (0: in this one).

    They become squares of side `size`, or stay as large as they are.
    """

    paths: Sequence[str]
    size: int | None
    workers: int

    @cached_property
    def target(self) -> ImageFormat:
        """What the images are made to be. Raises `UserError` for a file that isn't an image."""
        return ImageFormat.of(self.paths, size=self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of each image."""
        return self.target.shape

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """All images in turn, `[B, C, H, W]` uint8 each.

        Raises `UserError` naming a file that can't be used.
        """
        loader: DataLoader[Any] = DataLoader(
            _Blocks(self.paths, self.target),
            batch_size=None,
            num_workers=self.workers,
            generator=torch.Generator(),
        )
        for block in loader:
            if isinstance(block, str):
                raise UserError(block)
            yield block.numpy()


class _Blocks(Dataset[Any]):
    """Consecutive images `[B, C, H, W]`; or what is wrong, which no worker can raise whole."""

    def __init__(self, paths: Sequence[str], target: ImageFormat) -> None:
        self._paths = paths
        self._target = target
        self._size = min(BLOCK, max(1, BLOCK_BYTES // math.prod(target.shape)))

    def __len__(self) -> int:
        return math.ceil(len(self._paths) / self._size)

    def __getitem__(self, block: int) -> Tensor | str:
        paths = self._paths[block * self._size : (block + 1) * self._size]
        try:
            return torch.from_numpy(np.stack([read_image(path, self._target) for path in paths]))
        except UserError as error:
            return str(error)


def bytes_of(paths: Iterable[str]) -> int:
    """What the files take on disk. Raises `UserError` for one that isn't there."""
    total = 0
    for path in paths:
        with blaming_file(path):
            total += os.stat(path).st_size
    return total


@contextmanager
def blaming_file(path: str) -> Iterator[None]:
    """Report an exception in the block as a fault of the image file at `path`."""
    try:
        yield
    except Exception as error:
        problem = f"{path} can't be read as an image: {error}"
        raise UserError(f"data.root: {problem}: mend or remove it") from error


def load_workers() -> int:
    """Processes for reading files once: threads don't speed up the reading of small images."""
    forks = multiprocessing.get_start_method() == "fork"  # others would run the main script again
    return len(os.sched_getaffinity(0)) if forks else 0


def _is_gray(paths: Iterable[str]) -> Iterator[bool]:
    from PIL import Image

    for path in paths:
        with blaming_file(path), Image.open(path) as image:
            yield image.mode in GRAY_MODES
