"""What a run folder keeps so that a run that was cut off can go on, and the lock on the folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from pydantic import ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import StageResult
from nnrecipe.core.logbook import Mark, rewind
from nnrecipe.recipe import Recipe
from nnrecipe.report.store import replace_file
from nnrecipe.stages import Run
from nnrecipe.stages.kept import BEST_FILE, Kept, find_kept
from nnrecipe.training.checkpoint import load_checkpoint

RESUME_FILE, LOCK_FILE = "resume.json", ".lock"
VERSION = 1
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Walked:
    """A stage that has ended, and what the run knew after it.

    `logbook` is how far the logbook was.
    """

    result: StageResult
    metrics: dict[str, float]
    suggested_rate: float | None
    logbook: Mark


@dataclass(frozen=True)
class Saved:
    """How a run was started, and the stages that it has behind it.

    `stages` and `keep_going` are the command's; `recipe` is the recipe's fingerprint. A `complete`
    run has written its report.
    """

    stages: tuple[str, ...] | None
    keep_going: bool
    recipe: str
    walked: tuple[Walked, ...] = ()
    complete: bool = False

    def after(self, run: Run) -> Saved:
        """With the latest stage of the run."""
        done = Walked(run.results[-1], dict(run.metrics), run.suggested_rate, run.logbook.mark())
        return replace(self, walked=(*self.walked, done))

    def before(self, stage: str) -> Saved:
        """Without this stage and all that came after it."""
        kinds = [done.result.stage for done in self.walked]
        return replace(self, walked=self.walked[: kinds.index(stage)])

    def write(self, folder: Path) -> None:
        """Keep it in the run folder, whole or not at all."""
        told = {**vars(self), "version": VERSION, "walked": [_told(done) for done in self.walked]}
        replace_file(folder / RESUME_FILE, json.dumps(told) + "\n")


@dataclass(frozen=True)
class Cut:
    """Where a run goes on: after the stages that are saved, or within the training that is kept."""

    saved: Saved
    kept: Kept | None = None


def read_saved(folder: Path) -> Saved:
    """What a run folder keeps. Raises `UserError` if there is nothing, or if it is damaged."""
    path = folder / RESUME_FILE
    if not path.is_file():
        remedy = "name the folder of one run that has begun"
        raise UserError(f"{folder}: no {RESUME_FILE}: {remedy}")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version = told.pop("version")
        if version != VERSION:
            raise UserError(f"{path}: version is {version!r}, this nnrecipe reads {VERSION}")
        walked = tuple(
            Walked(**{**done, "result": StageResult.model_validate(done["result"])})
            for done in told.pop("walked")
        )
        stages = told.pop("stages")
        return Saved(**told, walked=walked, stages=None if stages is None else tuple(stages))
    except (LookupError, TypeError, AttributeError, ValidationError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}): run the recipe again"
        ) from error


def fingerprint(recipe: Recipe) -> str:
    """The same for the same recipe, whatever its file looks like."""
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def take_up(saved: Saved, folder: Path, *, say: Callable[[str], None]) -> Cut:
    """What is whole of a run that was cut off; the logbook is taken back to there.

    Where a file that the trained model is used from is damaged, the training is not whole.
    """
    checkpoints, kept = folder / "checkpoints", None
    if "train" in [done.result.stage for done in saved.walked]:
        files = [checkpoints / BEST_FILE, *sorted(checkpoints.glob("snapshot-*.pt"))]
        try:
            for file in filter(Path.exists, files):
                load_checkpoint(file, device=CPU)
        except UserError as error:
            say(f"{error}: training anew")
            saved = saved.before("train")
    else:
        kept = find_kept(checkpoints, device=CPU, say=say)
    mark = saved.walked[-1].logbook if saved.walked else {}
    rewind(folder, mark if kept is None else kept.mark)
    done = ", ".join(walked.result.stage for walked in saved.walked)
    epochs = "" if kept is None else f"; train goes on after epoch {len(kept.records)}"
    say(f"going on after {done or 'the start'}{epochs}")
    return Cut(saved, kept)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A block in which no other process works in the folder; the system ends it with the process.

    Raises `UserError` if another one does.
    """
    path = folder / LOCK_FILE
    try:
        with path.open("a+b") as file:
            if not _lock(file):
                raise UserError(f"{folder}: another run is at work in it: wait, or stop that one")
            yield
    except PermissionError as error:
        if error.filename != str(path):
            raise
        raise UserError(f"{folder}: can't write there: {error.strerror}") from error


def _lock(file: IO[Any]) -> bool:
    """Whether the file is now this process's own; the lock falls when it is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _told(done: Walked) -> dict[str, Any]:
    return {**vars(done), "result": done.result.model_dump(mode="json")}
