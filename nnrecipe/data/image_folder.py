"""A folder of images with a subfolder for each class."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import Fraction
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.image_cache import Array, ImageCache, default_folder
from nnrecipe.data.image_files import (
    ImageFiles,
    ImageFormat,
    ImageReader,
    bytes_of,
    load_workers,
)
from nnrecipe.data.mapped import MappedSplit
from nnrecipe.data.partition import hold_out, subset
from nnrecipe.data.source import SourceSpec, chosen_names
from nnrecipe.data.spec import Splits
from nnrecipe.data.split import RESIDENT_BYTES, ResidentSplit, Split
from nnrecipe.data.streamed import Source, Stream, StreamedSplit

MUCH = 2**24  # bytes of image files: more take longer to decode than workers take to start


class ImageFolder(SourceSpec):
    """Images in `train/<class>/`, `test/<class>/` and perhaps `val/<class>/`, or in `<class>/`.

    `val_fraction` is used where there is no `val/`. All images are gray if all files are, else RGB.
    """

    source = "torchvision.datasets.ImageFolder"

    kind: Literal["image_folder"] = "image_folder"
    test_fraction: Fraction = Field(
        0.1, description="share of the images held out for testing if root has class folders only"
    )
    resident: Literal["auto", "always", "never"] = Field(
        "auto", description="hold the decoded images in memory: if they take up to 4 GiB, or as set"
    )
    cache: Literal["auto", "off"] | Path = Field(
        "auto",
        description="folder for a file of the decoded images, which later runs, and data that "
        "don't fit in memory, are read from; auto: nnrecipe/images in the user's cache folder, if "
        "the image files take 16 MiB or more; off: decode them anew in each run",
    )

    @field_validator("cache", mode="before")
    @classmethod
    def _is_no_misspelt_word(cls, given: Any) -> Any:
        """A word alone is meant as one of the two, and a folder's path says that it is one."""
        bare = isinstance(given, str) and not set(given) & {"/", os.sep, "~"}
        if bare and given not in ("auto", "off"):
            raise ValueError(f"got {given!r}: give auto, off, or the path of a folder (./{given})")
        return given

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """See `DataSpec.build`.

        The indices are places in the sorted list of the files that a folder has of these classes.
        Raises `UserError` if the folder isn't laid out so, or an image can't be read.
        """
        classes, parts, indices = self._divide_files(seed)
        splits = self._splits(parts, device=device, workers=workers)
        whole = Splits(splits["train"], splits["val"], splits.get("test"), classes, indices)
        return self.bundle(whole, device=device)

    def _splits(
        self, parts: Mapping[str, _Files], *, device: torch.device, workers: int
    ) -> Mapping[str, Split]:
        """The examples of each part: held in memory, mapped from the cache, or streamed."""
        paths = sorted(path for part in parts.values() for path in part.paths)
        much = bytes_of(paths) >= MUCH
        readers = workers or (load_workers() if much else 0)
        reader = ImageReader(paths, size=self.image_size, workers=readers)
        cache = self._cache(reader) if much or isinstance(self.cache, Path) else None
        images = cache or reader
        fits = len(paths) * math.prod(images.shape) <= RESIDENT_BYTES
        rows = _rows(paths, parts)
        if self.resident == "always" or (self.resident == "auto" and fits):
            held = _hold(images, rows)
            return {
                name: ResidentSplit(held[name], part.targets, device=device)
                for name, part in parts.items()
            }
        if cache is not None:
            mapped = cache.mapped()
            return {
                name: MappedSplit(mapped, rows[name], part.targets, device=device, workers=workers)
                for name, part in parts.items()
            }
        target = reader.target
        return {
            name: self._stream(name, part, target, device=device, workers=workers)
            for name, part in parts.items()
        }

    def _cache(self, reader: ImageReader) -> ImageCache | None:
        """A file of the reader's images, which are decoded if it isn't there yet.

        None if there is to be none, or `auto` finds no room. Raises `UserError` if a folder that
        was named can't be used.
        """
        if self.cache == "off":
            return None
        try:
            folder = self.cache.expanduser() if isinstance(self.cache, Path) else default_folder()
            cache = ImageCache.of(reader.paths, size=reader.size, folder=folder)
            if not cache.is_whole():
                cache.fill(reader.blocks(), reader.shape)
        except OSError as error:
            problem = f"data.cache: {self.cache}: the decoded images can't be kept: {error}"
            remedy = "name a folder that has room and can be written to, or set it to off"
            if isinstance(self.cache, Path):
                raise UserError(f"{problem}: {remedy}") from error
            warnings.warn(f"{problem}: {remedy}", stacklevel=2)
            return None
        return cache

    def _stream(
        self, name: str, part: _Files, target: ImageFormat, *, device: torch.device, workers: int
    ) -> Split:
        """A split whose files are read whenever they are needed."""
        files = ImageFiles(part.paths, part.targets.tolist(), target)
        source = Source("data.root", f"{self.root}: {name}")
        return StreamedSplit(Stream(files, source, device=device, workers=workers), part.targets)

    def _divide_files(
        self, seed: int
    ) -> tuple[tuple[str, ...], dict[str, _Files], dict[str, list[int]]]:
        """The classes, the files of each split, and the indices of the splits that were drawn."""
        root = self.root.expanduser()
        ready = (root / "train").is_dir()
        known = _classes(root / "train" if ready else root)
        classes = chosen_names(self.classes, known)
        source = _list_files(root / "train" if ready else root, classes, known=known)
        names = [name for name in ("val", "test") if ready and (root / name).is_dir()]
        given = {name: _list_files(root / name, classes, known=known) for name in names}

        places: dict[str, Tensor] = {}
        rest = torch.arange(len(source.paths))
        if not ready:
            rest, places["test"] = hold_out(
                source.targets,
                self.test_fraction,
                seed=seed,
                path="data.test_fraction",
                classes=classes,
            )
        if "val" in given:
            train = subset(source.targets, self.limit, seed=seed)
        else:
            train, val = self.divide(source.targets[rest], classes, seed=seed)
            places["val"] = rest[val]
        places = {"train": rest[train], **places}
        drawn = {name: source.at(indices) for name, indices in places.items()}
        return classes, drawn | given, {name: part.tolist() for name, part in places.items()}


@dataclass(frozen=True)
class _Files:
    paths: list[str]
    targets: Tensor

    def at(self, indices: Tensor) -> _Files:
        return _Files([self.paths[index] for index in indices.tolist()], self.targets[indices])


def _classes(folder: Path) -> tuple[str, ...]:
    layout = "expected train/<class>/ and test/<class>/, or <class>/, with images in them"
    if not folder.is_dir():
        raise UserError(f"data.root: no folder {folder.absolute()}: {layout}")
    hidden = (".", "__")
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(hidden)
    )
    if len(names) < 2:
        found = f"class folders in {folder.absolute()}: {', '.join(names) or 'none'}"
        raise UserError(f"data.root: {found}; at least two are needed: {layout}")
    return tuple(names)


def _list_files(folder: Path, classes: tuple[str, ...], *, known: tuple[str, ...]) -> _Files:
    """The image files of `classes`, in sorted order. Raises `UserError`.

    The folder may have no class that isn't `known`.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = sorted(set(_classes(folder)) - set(known))
    if unknown:
        raise UserError(f"data.root: {folder} has classes that train/ lacks: {', '.join(unknown)}")
    numbers = {name: number for number, name in enumerate(classes)}
    found = make_dataset(str(folder), numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
    found = [(path, label) for path, label in found if not Path(path).name.startswith(".")]
    if not found:
        suffixes = " ".join(IMG_EXTENSIONS)
        raise UserError(f"data.root: the class folders in {folder} hold no images ({suffixes})")
    return _Files([path for path, _ in found], torch.tensor([label for _, label in found]))


def _hold(
    images: ImageReader | ImageCache,
    rows: Mapping[str, Array],
) -> dict[str, Tensor]:
    """The images of each split, `[N, C, H, W]` at its `rows: [N]`, as tensors."""
    count = sum(map(len, rows.values()))
    held = [np.empty((len(own), *images.shape), np.uint8) for own in rows.values()]
    owners, places = np.empty(count, np.int64), np.empty(count, np.int64)
    for number, own in enumerate(rows.values()):
        owners[own] = number
        places[own] = np.arange(len(own))
    start = 0
    for block in images.blocks():
        here = slice(start, start + len(block))
        for number, pixels in enumerate(held):
            mine = owners[here] == number
            pixels[places[here][mine]] = block[mine]
        start += len(block)
    return {name: torch.from_numpy(pixels) for name, pixels in zip(rows, held, strict=True)}


def _rows(paths: Sequence[str], parts: Mapping[str, _Files]) -> dict[str, Array]:
    """The places in `paths` of each split's files."""
    place = {path: number for number, path in enumerate(paths)}
    return {name: np.array([place[path] for path in part.paths]) for name, part in parts.items()}
