"""How a command ends that doesn't end well: the words on the terminal, and the exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from nnrecipe.core.errors import RecipeError, UserError

Stop = Exception | KeyboardInterrupt | SystemExit
"""What ends a command before its end."""


class Crash(Exception):  # noqa: N818 - what it wraps is the error
    """An error of ours in a run, and the run's folder."""

    def __init__(self, error: Exception, folder: Path) -> None:
        super().__init__(str(error))
        self.error, self.folder = error, folder


def exit_code(stop: Stop, arguments: Sequence[str]) -> int:
    """Say on the terminal what ended the command: 2 (the user's to mend), 3 (ours) or 130."""
    match stop:
        case click.exceptions.Exit():
            return stop.exit_code
        case click.Abort() | KeyboardInterrupt():
            click.echo("interrupted", err=True)
            return 130
        case click.ClickException():
            stop.show()
            return 2
        case UserError():
            return _complain(stop)
        case BrokenPipeError():  # the reader of a pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case SystemExit():
            if isinstance(stop.__context__, BrokenPipeError):  # rich does so when a reader leaves
                return 130
            return _complain(UserError("your own code ended the program (sys.exit): leave it out"))
        case Crash():
            return _unexpected(stop.error, arguments, stop.folder)
        case _:
            return _unexpected(stop, arguments)


def _complain(error: UserError) -> int:
    if isinstance(error, RecipeError) and len(error.problems) > 1:
        click.echo(f"{len(error.problems)} problems:", err=True)
    click.echo(str(error) if isinstance(error, RecipeError) else f"error: {error}", err=True)
    return 2


def _unexpected(error: BaseException, arguments: Sequence[str], folder: Path | None = None) -> int:
    """Save the traceback, in the run's folder if there is one; say one line on the terminal."""
    from nnrecipe.core.targets import describe, is_users_fault

    if is_users_fault(error):
        return _complain(UserError(f"your own code failed: {describe(error)}"))
    if isinstance(error, MemoryError) or "tried to allocate" in str(error).lower():
        remedy = "make training.batch_size, the images or the layers smaller, or set data.limit"
        return _complain(UserError(f"out of memory: {remedy}"))
    if folder is None or not folder.is_dir():
        folder = Path(tempfile.mkdtemp(prefix="nnrecipe-"))
    path = folder / "error.txt"
    told = "".join(traceback.format_exception(error))
    path.write_text(f"nnrecipe {' '.join(arguments)}\n\n{told}", errors="backslashreplace")
    text = " ".join(str(error).split())[:200]
    click.echo(f"unexpected error: {type(error).__name__}: {text} (see {path})", err=True)
    return 3
