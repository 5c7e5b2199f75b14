"""How a command ends that doesn't end well: the words on the terminal, and the exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from nnrecipe.core.errors import PeerError, RecipeError, UserError
from nnrecipe.core.torchrun import place

Stop = Exception | KeyboardInterrupt | SystemExit
"""What ends a command before its end."""

NO_FAULT_OF_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""Of a disk: full, over the quota, read-only, broken, or a file that may not be so large."""


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end, SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that SIGINT and SIGTERM end by `Stopped`; the second ends the process at once.

    What is written when it comes is always the old file or the new one, so nothing is lost by that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Crash(Exception):  # noqa: N818 - what it wraps is the error
    """An error of ours in a run, and the run's folder."""

    def __init__(self, error: Exception, folder: Path) -> None:
        super().__init__(str(error))
        self.error, self.folder = error, folder


def exit_code(stop: Stop, arguments: Sequence[str]) -> int:
    """Say on the terminal what ended the command: 2 (the user's to mend), 3 (ours), 130 or 143."""
    rank, _ = place()
    match stop:
        case click.exceptions.Exit():
            return stop.exit_code
        case click.ClickException() | RecipeError() if rank:
            return 2  # the first process says the same
        case PeerError():
            if not rank:
                click.echo(f"error: {stop}", err=True)
            return 3
        case click.Abort() | KeyboardInterrupt():
            if not rank:
                click.echo("interrupted", err=True)
            return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
        case click.ClickException():
            stop.show()
            return 2
        case UserError():
            return _complain(stop)
        case BrokenPipeError():  # the reader of a pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case OSError() if stop.errno in NO_FAULT_OF_OURS:
            remedy = "see to the disk; `nnrecipe resume` goes on with a run"
            return _complain(UserError(f"{stop.filename or 'a file'}: {stop.strerror}: {remedy}"))
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
    text = str(error) if isinstance(error, RecipeError) else f"{_own()}error: {error}"
    click.echo(text, err=True)
    return 2


def _own() -> str:
    """Which process it is that has something to say, unless it is the first."""
    rank, _ = place()
    return f"process {rank}: " if rank else ""


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
    kind = type(error).__name__
    click.echo(f"{_own()}unexpected error: {kind}: {text} (see {path})", err=True)
    return 3
