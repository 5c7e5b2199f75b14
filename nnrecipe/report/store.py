"""The files of a run folder that reports are made from."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.core.logbook import METRICS_FILE
from nnrecipe.core.report import Report

REPORT_FILE = "report.json"
CONFIG_FILE = "config.yaml"
VERSION = 1


def write_report(report: Report, folder: Path) -> Path:
    """Write `report.json` into the run folder, whole or not at all; returns its path."""
    path = folder / REPORT_FILE
    replace_file(path, json.dumps(report.model_dump(mode="json"), indent=1) + "\n")
    return path


def read_report(folder: Path) -> Report:
    """The report of a run folder.

    Raises `UserError` if there is none, or if it is broken or of another version.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {REPORT_FILE}: name the folder of a run that has begun")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): run the recipe again") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        message = f"{path}: version is {version!r}, this nnrecipe reads {VERSION}"
        raise UserError(f"{message}: read it with the nnrecipe that wrote it")
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}: run the recipe again") from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, oldest first; none if there is no file.

    A last line that a killed run left unfinished is passed over. Non-finite figures are words
    (`nan`, `inf`), which `float` understands.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    *lines, unfinished = path.read_text(encoding="utf-8", errors="ignore").split("\n")
    del unfinished
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise UserError(f"{path}: not JSON lines ({error})") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A block that writes to the path it is given, which takes the place of `path` at its end.

    If the block fails, `path` stays what it was. Raises `UserError` if nothing can be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"--output {path}: can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def replace_file(path: Path, text: str) -> None:
    """Write a UTF-8 file so that a reader finds the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp keeps its files to the owner
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
