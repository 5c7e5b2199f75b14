"""What an expression may be made of: operators and functions, each with its meaning in torch."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Meaning = Callable[..., Any]


@dataclass(frozen=True)
class Function:
    """What a name computes, how many arguments it takes, and of which numbers it is defined."""

    compute: Meaning
    arguments: int = 1
    defined: str = ""


def maximum(first: Tensor | float, second: Tensor | float) -> Tensor:
    """The larger, entry by entry; where both are equal, the gradient goes to each by half."""
    return torch.maximum(*_tensors(first, second))


def minimum(first: Tensor | float, second: Tensor | float) -> Tensor:
    """The smaller, entry by entry; where both are equal, the gradient goes to each by half."""
    return torch.minimum(*_tensors(first, second))


def _tensors(first: Tensor | float, second: Tensor | float) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(first, dtype=torch.double), torch.as_tensor(second, dtype=torch.double)


FUNCTIONS = {
    "exp": Function(torch.exp),
    "log": Function(torch.log, defined="numbers above 0"),
    "sqrt": Function(torch.sqrt, defined="numbers from 0 up, and has a slope above 0 only"),
    "sigmoid": Function(torch.sigmoid),
    "tanh": Function(torch.tanh),
    "relu": Function(torch.relu),
    "softplus": Function(torch.nn.functional.softplus),
    "sin": Function(torch.sin),
    "cos": Function(torch.cos),
    "abs": Function(torch.abs),
    "square": Function(torch.square),
    "max": Function(maximum, arguments=2),
    "min": Function(minimum, arguments=2),
    "dot": Function(torch.matmul, arguments=2, defined="a row and a column of one length"),
    "sum": Function(torch.sum),
    "mean": Function(torch.mean),
    "transpose": Function(torch.t),
}
"""By the name that an expression calls. All act entry by entry but the last four."""

OPERATORS: dict[type[ast.operator], tuple[str, Meaning]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.Pow: ("**", operator.pow),
    ast.MatMult: ("@", torch.matmul),
}
