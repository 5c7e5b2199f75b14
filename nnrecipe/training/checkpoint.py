"""Checkpoints: a dict of tensors and plain values, readable with `weights_only=True`."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from nnrecipe.core.errors import UserError


def save_checkpoint(path: Path, state: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write to a temporary file beside `path`, flush it to the disk, and rename it over `path`.

    Whoever reads `path` finds the old checkpoint or the new one, never a part of one. The file is a
    zip archive, which carries the checksum (CRC-32) of each of its parts. With `keep_previous`, the
    one before stays as `previous_path(path)`.
    """
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if keep_previous and path.exists():
        _keep(path, previous_path(path))
    temporary.replace(path)
    _flush_folder(path.parent)


def previous_path(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept: `last.previous.pt`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_checkpoint(path: Path, *, device: torch.device, part: str = "model") -> dict[str, Any]:
    """Read a checkpoint that holds a `part`; code inside it is never run.

    Raises `UserError` if the file is not there, is torn or altered, or is not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself doesn't look at the checksums
            torn = archive.testzip()
        if torn is None:
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except Exception as error:  # a damaged file raises half a dozen kinds
        raise UserError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if torn is not None:
        raise UserError(f"{path}: damaged: the checksum of {torn} isn't right")
    if not isinstance(state, dict) or part not in state:
        raise UserError(f"{path}: not a checkpoint of nnrecipe: it has no {part!r}")
    return state


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, so that there is no moment without a whole one."""
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(path)
    except OSError:  # a filesystem without links
        shutil.copyfile(path, previous)


def _flush_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk too, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
