"""Runs compared for a reader: the table in the terminal, and the picture beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnrecipe.report.attempts import read_attempts
from nnrecipe.report.comparison import compare
from nnrecipe.report.comparison_plot import PICTURE_FILE, check_format, draw_comparison
from nnrecipe.report.comparison_table import print_comparison
from nnrecipe.report.progress import print_line
from nnrecipe.report.terminal import terminal


def show_comparison(folders: Sequence[Path], *, picture: Path | None = None) -> None:
    """Print the table of all runs in these folders, and draw the picture.

    It goes to `picture`; else into the folder, or into the current one where there are several.
    Raises `UserError` for folders and files that can't be used.
    """
    place = folders[0] if len(folders) == 1 else Path()
    file = picture or place / PICTURE_FILE
    check_format(file)
    comparison = compare(read_attempts(folders))
    console = terminal()
    print_comparison(comparison, console=console)
    console.print()
    drawn = draw_comparison(comparison, file)
    print_line(console, f"picture  {file}" if drawn else "no picture: no run came to a metric")
