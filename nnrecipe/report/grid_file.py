"""What a grid of runs keeps of itself: which cells it has, and what became of those without a run.

The runs' own folders hold the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.report.store import replace_file

GRID_FILE = "grid.json"


class PlannedRun(BaseModel):
    """A run of a cell: its folder below the grid's, and what kept it from a report, if anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    failure: str = ""


class GridCell(BaseModel):
    """A config: the overrides that make it, why it can't be, or else its runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    overrides: tuple[str, ...]
    refusal: str = ""
    runs: tuple[PlannedRun, ...] = ()


class Grid(BaseModel):
    """All cells in their order, as `grid.json` holds them (version 1), and the command's flags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    cells: tuple[GridCell, ...]
    stages: tuple[str, ...] | None = None
    keep_going: bool = False

    @property
    def folders(self) -> list[str]:
        """Those of all runs, in their order."""
        return [run.folder for cell in self.cells for run in cell.runs]

    def failed(self, folder: str, failure: str) -> Grid:
        """The same grid, but that the run in `folder` has failed; an empty failure is none."""
        cells = tuple(_failed(cell, folder, failure) for cell in self.cells)
        return self.model_copy(update={"cells": cells})


def write_grid(grid: Grid, base: Path) -> None:
    """Write `grid.json`, whole or not at all."""
    replace_file(base / GRID_FILE, grid.model_dump_json(indent=1) + "\n")


def read_grid(base: Path) -> Grid:
    """The grid whose runs lie below `base`. Raises `UserError` if its file can't be used."""
    path = base / GRID_FILE
    try:
        return Grid.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{path}: {where}: {first['msg']}".replace(": : ", ": ")
        raise UserError(f"{message}: name the runs below it instead") from error


def _failed(cell: GridCell, folder: str, failure: str) -> GridCell:
    runs = [
        run.model_copy(update={"failure": failure}) if run.folder == folder else run
        for run in cell.runs
    ]
    return cell.model_copy(update={"runs": tuple(runs)})
