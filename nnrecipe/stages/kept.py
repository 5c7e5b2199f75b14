"""A training that was cut off, as it is found in its folder: what it takes to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnrecipe.core.errors import UserError
from nnrecipe.core.logbook import Mark
from nnrecipe.training.checkpoint import load_checkpoint, previous_path
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.records import RECORDS_FILE, take_records

LAST_FILE, BEST_FILE = "last.pt", "best.pt"


@dataclass(frozen=True)
class Kept:
    """What `last.pt` holds, and the epochs up to it, of which there is at least one."""

    state: dict[str, Any]
    records: list[EpochRecord]

    @property
    def mark(self) -> Mark:
        """How far the logbook was."""
        return dict(self.state["logbook"])


def find_kept(
    checkpoints: Path, *, device: torch.device, say: Callable[[str], None]
) -> Kept | None:
    """The last whole checkpoint of a training; None if it has to begin anew.

    A damaged file is named. In place of `last.pt` the one before it will do; for what later stages
    use, `best.pt` say, there is nothing else.
    """
    last = checkpoints / LAST_FILE
    for path in (last, previous_path(last)):
        if not path.exists():
            continue
        try:
            state = load_checkpoint(path, device=device, part="optimizer")
            records = take_records(checkpoints / RECORDS_FILE, state["epoch"])
            if records is None:
                raise UserError(f"{checkpoints / RECORDS_FILE}: damaged: epochs are missing")
        except UserError as error:
            say(f"{error}: going back to what is whole")
            continue
        try:
            for name in state["beside"]:
                load_checkpoint(checkpoints / name, device=device)
        except UserError as error:
            say(f"{error}: training anew")
            return None
        return Kept(state, records)
    return None


def forget(checkpoints: Path) -> None:
    """Remove what a training could go on from: a new one begins."""
    last = checkpoints / LAST_FILE
    for path in (last, previous_path(last), checkpoints / RECORDS_FILE):
        path.unlink(missing_ok=True)
