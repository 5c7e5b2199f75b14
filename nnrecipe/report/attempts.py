"""Runs read back from their folders, to be compared: those that ended, and those that didn't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.grid_file import GRID_FILE, GridCell, PlannedRun, read_grid
from nnrecipe.report.store import CONFIG_FILE, REPORT_FILE, read_metrics, read_report
from nnrecipe.report.wording import clean, spoken

_UNFINISHED = "unfinished: interrupted before its first stage ended"
AFTER_ALL = "diagnosis"
"""The stage that runs even where a gate has closed."""
_NOT_RUN = "not run"
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises; a `ValueError` for a date that is none, 2026-99-99, and for bad UTF-8."""
_REMEDY = "run the recipe again, or name the other runs"


@dataclass(frozen=True)
class Attempt:
    """One run of a config, without its seed; or why there is none.

    `history` has an entry for each epoch, with `val_loss` and such. `varied` are the dotted keys
    that the grid varies, if it is a grid's. A config that was refused is known only as far as it
    was typed.
    """

    folder: Path
    config: dict[str, Any]
    report: Report | None = None
    history: tuple[dict[str, Any], ...] = ()
    failure: str = ""
    varied: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """`pass`, `warn`, `fail`, `stopped at sanity`, `pass up to train`; or why there is none."""
        if self.failure or self.report is None or not self.report.stages:
            return self.failure.partition(":")[0] or _NOT_RUN
        verdict = self.report.verdict.value
        walked = [stage for stage in self.report.stages if stage.stage != AFTER_ALL]
        if not walked or self._last_planned in (walked[-1].stage, None):
            return verdict
        last = walked[-1]
        failed = last.verdict is Verdict.FAIL
        return f"stopped at {last.stage}" if failed else f"{verdict} up to {last.stage}"

    @property
    def remark(self) -> str:
        """Why there is no report, or why it ends early; empty if there is nothing to explain."""
        if self.failure:
            return self.failure if ":" in self.failure else ""
        causes = self.report.diagnosis if self.report is not None else ()
        if not causes or not self.outcome.startswith("stopped"):
            return ""
        return f"{self.outcome}: most likely {spoken(causes[0].cause)}"

    @property
    def _last_planned(self) -> str | None:
        stages = self.config.get("stages")
        kinds = [
            stage.get("kind") if isinstance(stage, dict) else stage
            for stage in (stages if isinstance(stages, list) else [])
        ]
        return next((kind for kind in reversed(kinds) if kind != AFTER_ALL), None)


def read_attempts(folders: Sequence[Path]) -> list[Attempt]:
    """The runs in these folders, each of which is a run's own or holds runs or a grid of them.

    Raises `UserError` for a folder that isn't there or has no runs, and for files that are broken.
    """
    found: dict[Path, Attempt] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder: name the folder of a run, or of several")
        below = {attempt.folder.resolve(): attempt for attempt in _below(folder)}
        if not below:
            raise UserError(f"{folder}: no run in it: name the folder of a run, or of several")
        found |= {path: attempt for path, attempt in below.items() if path not in found}
    return list(found.values())


def _below(folder: Path) -> Iterator[Attempt]:
    if (folder / REPORT_FILE).is_file():
        yield _read(folder, _config(folder))
    elif (folder / GRID_FILE).is_file():
        for cell in read_grid(folder).cells:
            varied = tuple(override.partition("=")[0] for override in cell.overrides)
            yield from (replace(attempt, varied=varied) for attempt in _cell(folder, cell))
    else:
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"{folder}: can't be read: {error.strerror}") from error
        for path in inside:
            if not path.is_symlink():
                yield from _below(path)


def _cell(base: Path, cell: GridCell) -> Iterator[Attempt]:
    """The runs of one config of a grid; all of them count as that config's."""
    folders = [base / run.folder for run in cell.runs]
    written = (_config(folder) for folder in folders if (folder / CONFIG_FILE).is_file())
    config = next(written, None) or _typed(cell.overrides)
    if cell.refusal:
        yield Attempt(base / cell.name, config, failure=f"refused: {cell.refusal}")
    for run, folder in zip(cell.runs, folders, strict=True):
        yield _planned(run, folder, config)


def _planned(run: PlannedRun, folder: Path, config: dict[str, Any]) -> Attempt:
    if (folder / REPORT_FILE).is_file():
        return replace(_read(folder, config), failure=run.failure)
    begun = (folder / CONFIG_FILE).is_file()
    return Attempt(folder, config, failure=run.failure or (_UNFINISHED if begun else _NOT_RUN))


def _read(folder: Path, config: dict[str, Any]) -> Attempt:
    report = read_report(folder)
    facts = {stage.stage: stage.facts for stage in report.stages}
    history = facts.get("train", {}).get("history") or read_metrics(folder)
    epochs = tuple(line for line in history if isinstance(line, dict) and "epoch" in line)
    return Attempt(folder, config, report, epochs)


def _config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run, without its seed."""
    path = folder / CONFIG_FILE
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}: {_REMEDY}") from error
    except _NOT_YAML as error:
        raise UserError(f"{path}: not YAML: {clean(str(error))}: {_REMEDY}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: is no config, which is a mapping of keys: {_REMEDY}")
    return {str(key): value for key, value in config.items() if key != "seed"}


def _typed(overrides: Sequence[str]) -> dict[str, Any]:
    """What `key.path=value` says of a config, for one that couldn't be resolved."""
    config: dict[str, Any] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        *above, last = key.split(".")
        section = reduce(_open, above, config)
        section[last] = _value(value)
    return config


def _open(section: dict[str, Any], key: str) -> dict[str, Any]:
    """The section below a key; a plain kind is spelled out."""
    given = section.get(key, {})
    inner: dict[str, Any] = given if isinstance(given, dict) else {"kind": given}
    section[key] = inner
    return inner


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except _NOT_YAML:
        return text
