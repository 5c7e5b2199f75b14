"""A folder of images with a subfolder for each class."""

from __future__ import annotations

import math
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import Fraction
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.image_files import ImageFiles, ImageFormat, read_all
from nnrecipe.data.partition import hold_out, subset
from nnrecipe.data.source import SourceSpec
from nnrecipe.data.spec import Splits
from nnrecipe.data.split import RESIDENT_BYTES, ResidentSplit, Split
from nnrecipe.data.streamed import Source, Stream, StreamedSplit

FEW_IMAGES = 4096  # fewer are read sooner than workers start


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

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:
        """See `DataSpec.build`; the indices are places in the sorted list of a folder's files.

        Raises `UserError` if the folder isn't laid out so, or an image can't be read.
        """
        classes, parts, indices = self._divide_files(seed)
        paths = [path for part in parts.values() for path in part.paths]
        target = ImageFormat.of(paths, size=self.image_size)
        fits = len(paths) * math.prod(target.shape) <= RESIDENT_BYTES
        resident = self.resident == "always" or (self.resident == "auto" and fits)

        def split(name: str) -> Split:
            part = parts[name]
            files = ImageFiles(part.paths, part.targets.tolist(), target)
            if resident:
                pixels = read_all(files, workers=workers or _load_workers(len(files)))
                return ResidentSplit(pixels, part.targets, device=device)
            source = Source("data.root", f"{self.root}: {name}")
            stream = Stream(files, source, device=device, workers=workers)
            return StreamedSplit(stream, part.targets)

        test = split("test") if "test" in parts else None
        splits = Splits(split("train"), split("val"), test, classes, indices)
        return self.bundle(splits, device=device)

    def _divide_files(
        self, seed: int
    ) -> tuple[tuple[str, ...], dict[str, _Files], dict[str, list[int]]]:
        """The classes, the files of each split, and the indices of the splits that were drawn."""
        root = self.root.expanduser()
        ready = (root / "train").is_dir()
        classes = _classes(root / "train" if ready else root)
        source = _list_files(root / "train" if ready else root, classes)
        names = [name for name in ("val", "test") if ready and (root / name).is_dir()]
        given = {name: _list_files(root / name, classes) for name in names}

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


def _list_files(folder: Path, classes: tuple[str, ...]) -> _Files:
    """The image files below each class folder, in sorted order. Raises `UserError`."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = sorted(set(_classes(folder)) - set(classes))
    if unknown:
        raise UserError(f"data.root: {folder} has classes that train/ lacks: {', '.join(unknown)}")
    numbers = {name: number for number, name in enumerate(classes)}
    found = make_dataset(str(folder), numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
    found = [(path, label) for path, label in found if not Path(path).name.startswith(".")]
    if not found:
        known = " ".join(IMG_EXTENSIONS)
        raise UserError(f"data.root: the class folders in {folder} hold no images ({known})")
    return _Files([path for path, _ in found], torch.tensor([label for _, label in found]))


def _load_workers(count: int) -> int:
    """Processes for reading files once: threads don't speed up the reading of small images."""
    forks = multiprocessing.get_start_method() == "fork"  # others would run the main script again
    return len(os.sched_getaffinity(0)) if forks and count >= FEW_IMAGES else 0
