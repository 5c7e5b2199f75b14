"""The image files that words on a command line name: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import chain

from nnrecipe.core.errors import UserError


def find_images(words: Sequence[str]) -> Iterator[str]:
    """The paths that `words` name, word by word; of a folder all, at any depth, sorted.

    A pattern (`*`, `?`, `[...]`, `**` for any depth) names what matches it. Folders are read while
    one iterates. Raises `UserError` at once for a word that names nothing, or a folder that holds
    no images.
    """
    places = [place for word in words for place in _named(word)]
    for place in places:
        if os.path.isdir(place) and next(_below(place), None) is None:
            raise UserError(f"IMAGES: {place}: no images in it ({' '.join(_suffixes())})")
    return chain.from_iterable(
        _below(place) if os.path.isdir(place) else [place] for place in places
    )


def _named(word: str) -> list[str]:
    """The files and folders that one word names, at least one."""
    if os.path.exists(word):  # a name may hold brackets
        return [word]
    found = sorted(glob.glob(word, recursive=True)) if glob.has_magic(word) else []
    if not found:
        raise UserError(f"IMAGES: {word}: no such file or folder, and a pattern of none")
    return found


def _below(folder: str) -> Iterator[str]:
    """A folder's image files in sorted order, hidden ones left out."""
    suffixes = _suffixes()
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.join(parent, name)


def _refuse(error: OSError) -> None:
    raise UserError(f"IMAGES: {error.filename}: can't be read: {error.strerror}") from error


def _suffixes() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return tuple(IMG_EXTENSIONS)
