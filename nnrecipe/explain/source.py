"""A line of text that is parsed and never run, and how a mistake in it is told."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from nnrecipe.core.errors import UserError

LONGEST = 4000
"""Characters; what is drawn of more can't be read."""


@dataclass(frozen=True)
class Source:
    """The text, and what it is: `expression`, or the name that a value was given to."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str, text: str) -> Source:
        """On one line, as columns are counted in it. Raises `UserError` if it is too long."""
        if len(text) > LONGEST:
            found = f"{len(text)} characters, more than {LONGEST}"
            raise UserError(f"{name}: {found}: shorten it, or take it apart")
        return cls(name, " ".join(text.splitlines()).strip())

    def tree(self) -> ast.expr:
        """What it says. Raises `UserError` with the place of a mistake."""
        if not self.text:
            raise UserError(f"{self.name}: nothing is given")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is refused later
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            column = min(error.offset or LONGEST, len(self.text) + 1)
            raise self.mistake(column, f"can't be read: {error.msg}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise UserError(f"{self.name}: can't be read: {error or 'too deep'}") from error

    def error(self, node: ast.expr, problem: str) -> UserError:
        """A mistake at a node."""
        return self.mistake(self.column(node), problem)

    def mistake(self, column: int, problem: str) -> UserError:
        """One at a column, counted from 1, with the place pointed at."""
        shown = f"    {self.text}\n    {' ' * (column - 1)}^"
        return UserError(f"{self.name}: column {column}: {problem}\n{shown}")

    def column(self, node: ast.expr) -> int:
        """Where a node stands, counted from 1; of an operator, the operator's own place."""
        if isinstance(node, ast.BinOp):
            end = node.left.end_col_offset or 0
            encoded = self.text.encode()
            while chr(encoded[end]) in ") ":
                end += 1
            return len(encoded[:end].decode()) + 1
        return len(self.text.encode()[: node.col_offset].decode()) + 1

    def constant(self, node: ast.expr) -> float:
        """The number that a node is. Raises `UserError` if it is none, or too large."""
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(node, f"{ast.unparse(node)[:40]} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")):
            raise self.error(node, "the number is too large: up to 1.8e308 can be used")
        return number
