"""Image files as batches of what the network's training saw, read ahead by other processes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nnrecipe.core.errors import UserError
from nnrecipe.data.image_files import ImageFormat, decode, load_workers
from nnrecipe.data.image_folder import ImageFolder
from nnrecipe.data.images import resize
from nnrecipe.data.source import SourceSpec
from nnrecipe.recipe.trained import Trained

FEW = 64
"""Files that are read sooner than other processes have started to."""


class Portion(NamedTuple):
    """Images `[N, C, H, W]`, uint8, with their `paths`, and (path, reason) of the unreadable."""

    paths: list[str]
    images: Tensor
    broken: list[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """How a file becomes an example.

    `by_torch` says that training resized its examples as tensors, as the data that aren't read from
    files are: the last bit may differ from PIL's.
    """

    target: ImageFormat
    by_torch: bool

    @classmethod
    def of(cls, trained: Trained) -> Self:
        """As training had it. Raises `UserError` if files can't be made the network's examples."""
        shape, data = trained.input_shape, trained.recipe.data
        if len(shape) != 3 or shape[0] not in (1, 3):
            given = f"examples {list(shape)}, and an image is [1, H, W] or [3, H, W]"
            raise UserError(f"{trained.path}: the network takes {given}: export it instead")
        if trained.float_range is not None and not _is_share(*trained.float_range):
            low, high = trained.float_range
            given = f"your Dataset gives floats from {low:.3g} to {high:.3g}, and not 0 to 1"
            remedy = "have it give 0 to 1 or uint8, and set data.normalize; or export the network"
            raise UserError(f"{trained.path}: {given}, so how it makes them isn't known: {remedy}")
        channels, height, width = shape
        resized = isinstance(data, SourceSpec) and data.image_size is not None
        by_torch = resized and not isinstance(data, ImageFolder)
        target = ImageFormat(
            "L" if channels == 1 else "RGB", width, height, resize=not by_torch, model=""
        )
        return cls(target, by_torch)

    def read(self, path: str) -> np.ndarray[Any, Any]:
        """One image, uint8 `[C, H, W]`. Raises what PIL raises."""
        pixels = decode(path, self.target)
        if not self.by_torch:
            return pixels
        return resize(torch.from_numpy(pixels)[None], self.target.width)[0].numpy()


def read_ahead(
    paths: Iterable[str], reading: Reading, *, size: int, workers: int | None, pin: bool
) -> Iterator[Portion]:
    """All images in order, `size` files at a time; `pin` their memory for a GPU.

    In `workers` processes, 0 for this one; None: as many as there are processors, unless the files
    are `FEW`. No more than two portions for each process are held in memory.
    """
    ahead = iter(paths)
    first = list(islice(ahead, FEW + 1))
    if workers is None:
        workers = load_workers() if len(first) > FEW else 0
    return iter(
        DataLoader(
            _Portions(reading),
            batch_size=None,
            sampler=_chunks(chain(first, ahead), size),
            num_workers=workers,
            pin_memory=pin,
            generator=torch.Generator(),
        )
    )


class _Portions(Dataset[Portion]):
    """Turns a list of paths into a portion."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __getitem__(self, paths: list[str]) -> Portion:
        from PIL import Image

        images: list[np.ndarray[Any, Any]] = []
        read: list[str] = []
        broken: list[tuple[str, str]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but readable files
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for path in paths:
                try:
                    images.append(self._reading.read(path))
                    read.append(path)
                except Exception as error:  # a damaged file raises a dozen kinds
                    broken.append((path, _reason(error)))
        shape = (0, *self._reading.target.shape)
        stacked = np.stack(images) if images else np.empty(shape, np.uint8)
        return Portion(read, torch.from_numpy(stacked), broken)


def _chunks(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(paths, size)):
        yield chunk


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of no known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _is_share(low: float, high: float) -> bool:
    return low >= 0 and high <= 1
