"""Checkpoints: a dict of tensors and plain values, readable with `weights_only=True`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from nnrecipe.core.errors import UserError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write to a temporary file beside `path`, flush it to the disk, and rename it over `path`.

    Whoever reads `path` finds the old checkpoint or the new one, never a part of one.
    """
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, *, device: torch.device, part: str = "model") -> dict[str, Any]:
    """Read a checkpoint that holds a `part`; code inside it is never run.

    Raises `UserError` if the file is not there or is not a checkpoint.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch.load raises half a dozen kinds on a damaged file
        raise UserError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(state, dict) or part not in state:
        raise UserError(f"{path}: not a checkpoint of nnrecipe: it has no {part!r}")
    return state
