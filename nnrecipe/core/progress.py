"""What a run tells the person who waits for it."""

from __future__ import annotations

from typing import Protocol

from nnrecipe.core.findings import StageResult


class Progress(Protocol):
    """A terminal's side of a run; `report.progress` has one with bars and one with plain lines."""

    def say(self, line: str) -> None:
        """Print one line."""

    def begin(self, stage: str, *, total: int | None = None) -> None:
        """A stage starts; `total` is its amount of work in any unit, if known."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """`amount` of the current stage's work is done; `note` shows beside the bar."""

    def end(self, result: StageResult) -> None:
        """The current stage ended."""


class Silence:
    """A `Progress` that says nothing: for the Python API and for tests."""

    def say(self, line: str) -> None:
        """Nothing."""

    def begin(self, stage: str, *, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Nothing."""

    def end(self, result: StageResult) -> None:
        """Nothing."""
