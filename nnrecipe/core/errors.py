"""Errors that are the user's to mend. Each names where, what was found and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_core import PydanticCustomError


class UserError(ValueError):
    """The input is wrong: a config, a path, an argument or the user's own code. Exit code 2."""


class PeerError(RuntimeError):
    """Another process of the run has ended, which has told why."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config, and where.

    `where` is `file:line:column`, or the override as it was typed. `path` is the YAML path.
    """

    where: str
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{self.where}: {self.path}: {self.message}{remedy}"


class RecipeError(UserError):
    """A config that can't be used, with everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def conflict(path: str, message: str, remedy: str = "") -> PydanticCustomError:
    """What a cross-field rule raises; `path` is where the fault lies, dotted, from the top."""
    template = "{message}"  # the message may hold braces of its own
    context = {"path": path, "message": message, "remedy": remedy}
    return PydanticCustomError("conflict", template, context)
