"""The values of an expression's names, as a command line gives them: `w=[[1, 2], [3, 4]]`."""

from __future__ import annotations

import ast
import unicodedata
from collections.abc import Iterable

import torch
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.explain.source import Source

DEEPEST = 2


def read_values(words: Iterable[str]) -> dict[str, Tensor]:
    """Numbers, rows and matrices, float64, by name. Raises `UserError`."""
    values: dict[str, Tensor] = {}
    for word in words:
        name, found, text = word.partition("=")
        name = unicodedata.normalize("NFKC", name.strip())  # as Python's parser spells names
        if not found or not name.isidentifier():
            raise UserError(f"{word!r}: write name=value, as in x=-2 or w=[[1, 2], [3, 4]]")
        if name in values:
            raise UserError(f"{word!r}: {name} has a value already: give each name one")
        values[name] = _value(Source.of(name, text))
    return values


def _value(source: Source) -> Tensor:
    tree = source.tree()
    numbers = _numbers(tree, source, depth=0)
    try:
        value = torch.tensor(numbers, dtype=torch.double)
    except (ValueError, TypeError) as error:
        raise source.error(tree, "the rows must all have the same length") from error
    if not value.numel():
        raise source.error(tree, "an empty list holds no number")
    return value


Numbers = float | list["Numbers"]


def _numbers(node: ast.expr, source: Source, *, depth: int) -> Numbers:
    match node:
        case ast.List() if depth < DEEPEST:
            return [_numbers(entry, source, depth=depth + 1) for entry in node.elts]
        case ast.UnaryOp(op=ast.USub()):
            return -source.constant(node.operand)
        case ast.UnaryOp(op=ast.UAdd()):
            return source.constant(node.operand)
        case ast.Constant():
            return source.constant(node)
        case _:
            remedy = "write a number, a row [1, 2] or a matrix [[1, 2], [3, 4]]"
            raise source.error(node, f"not a value: {remedy}")
