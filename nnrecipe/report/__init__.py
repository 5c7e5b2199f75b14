"""What a run leaves behind for people: HTML, the terminal's table, TensorBoard's text, charts."""

from nnrecipe.report.html import write_html
from nnrecipe.report.progress import terminal_progress
from nnrecipe.report.store import read_metrics, read_report, write_report
from nnrecipe.report.terminal import print_causes, print_report
from nnrecipe.report.text import markdown

__all__ = [
    "markdown",
    "print_causes",
    "print_report",
    "read_metrics",
    "read_report",
    "terminal_progress",
    "write_html",
    "write_report",
]
