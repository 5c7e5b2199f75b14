"""What a run shows while it goes on: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nnrecipe.core.findings import StageResult
from nnrecipe.report.terminal import COLOURS, terminal
from nnrecipe.report.wording import clean, duration, percent, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 15.0


def terminal_progress() -> Bars | Lines:
    """A `core.progress.Progress` on standard output.

    As a context manager it takes an unfinished bar away before an error is printed.
    """
    console = terminal()
    return Bars(console) if console.is_terminal else Lines(console)


def print_line(console: Console, line: str) -> None:
    """Print the line as it is, however long."""
    from rich.text import Text

    console.print(Text(printable(line)), soft_wrap=True)


class Lines:
    """One line a stage, and while a long one goes on, one now and then."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stage = ""
        self._total: int | None = None
        self._done = 0
        self._last = clock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to take away."""

    def say(self, line: str) -> None:
        """Print one line, however long."""
        print_line(self._console, line)

    def begin(self, stage: str, *, total: int | None = None) -> None:
        """Nothing is printed before there is something to tell."""
        self._stage, self._total, self._done, self._last = clean(stage), total, 0, self._clock()

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Print how far the stage is, if the last line is long ago."""
        self._done += amount
        if self._clock() - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = self._clock()
        share = f" {percent(min(self._done / self._total, 1))}" if self._total else ""
        self.say(f"{self._stage} ...{share} {note}".rstrip())

    def end(self, result: StageResult) -> None:
        """Print the stage's verdict and time."""
        self.say(f"{result.stage} ... {result.verdict.value} ({duration(result.seconds)})")


class Bars:
    """A bar for the stage that runs; ended stages become lines above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        atexit.register(self._stop)  # the terminal's cursor comes back whatever happens

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        print_line(self._console, line)

    def begin(self, stage: str, *, total: int | None = None) -> None:
        """Show a bar; it only pulses while `total` is unknown."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._stop()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(f"{clean(stage):<9}", total=total, note="")
        self._bar.start()

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Move the bar; the note stays until another one comes."""
        if self._bar is None or self._task is None:
            return
        if note:
            self._bar.update(self._task, advance=amount, note=clean(note))
        else:
            self._bar.update(self._task, advance=amount)

    def end(self, result: StageResult) -> None:
        """Put the stage's verdict and time in the bar's place."""
        from rich.text import Text

        self._stop()
        line = Text(f"{clean(result.stage):<9} ")
        line.append(f"{result.verdict.value:<5}", style=COLOURS[result.verdict])
        self._console.print(line.append(duration(result.seconds), style="dim"))

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
