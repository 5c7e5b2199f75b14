"""An expression as a torch.fx graph: it is parsed and looked up, and never run."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from nnrecipe.core.errors import UserError
from nnrecipe.explain.functions import FUNCTIONS, OPERATORS, Meaning
from nnrecipe.explain.source import Source

MOST_GATES = 200
"""What is drawn of more can't be read."""

Argument = fx.Node | float


def build_graph(source: Source, values: Mapping[str, Tensor]) -> fx.Graph:
    """The graph, its placeholders in the order in which the names appear.

    A node's `meta` has `label` (what it does), `text` (what it computes) and `syntax` (where it
    stands). An operation on a number is one gate: `+1`, `*-1`, `1/x`. Raises `UserError` for what
    can't be read or computed, for names without a value, and for values without a name.
    """
    tree = source.tree()
    try:
        names = _names(tree, source)
        _compare(names, values, source)
        builder = _Builder(source, names)
        result = builder.visit(tree)
    except RecursionError as error:
        raise UserError(f"{source.name}: too deep: take it apart") from error
    if not isinstance(result, fx.Node):
        remedy = "write at least one name, as in x**2 x=3"
        raise source.error(tree, f"there is nothing to differentiate by: {remedy}")
    builder.graph.output(result)
    return builder.graph


def _names(tree: ast.expr, source: Source) -> dict[str, ast.expr]:
    """The names that stand for values, each with its first place."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    names: dict[str, ast.expr] = {}
    for node in sorted(found, key=source.column):
        names.setdefault(node.id, node)
    return names


def _compare(names: Mapping[str, ast.expr], values: Mapping[str, Tensor], source: Source) -> None:
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing:
        remedy = f"add {' '.join(f'{name}=...' for name in missing)}"
        close = [name for name in unknown if difflib.get_close_matches(name, missing)]
        remedy += f" (you gave {', '.join(close)})" if close else ""
        raise source.error(names[missing[0]], f"no value for {', '.join(missing)}: {remedy}")
    if unknown:
        known = f"its names are {', '.join(names)}" if names else "it has no names"
        raise UserError(f"{unknown[0]}: not in the expression {source.text}: {known}")


class _Builder:
    """Makes a node of the graph for each node of the syntax tree."""

    def __init__(self, source: Source, names: Mapping[str, ast.expr]) -> None:
        self.source = source
        self.graph = fx.Graph()
        self.inputs = {name: self._input(name, node) for name, node in names.items()}

    def _input(self, name: str, syntax: ast.expr) -> fx.Node:
        node = self.graph.placeholder(name)
        node.meta |= {"label": name, "text": name, "syntax": syntax}
        return node

    def visit(self, node: ast.expr) -> Argument:
        """The node that computes what the syntax says, or a number. Raises `UserError`."""
        match node:
            case ast.Name():
                return self.inputs[node.id]
            case ast.Constant():
                return self.source.constant(node)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.visit(node.operand)
            case ast.UnaryOp(op=ast.USub()):
                return self._gate(node, FACTOR[0], FACTOR[1], self.visit(node.operand), -1.0)
            case ast.BinOp() if type(node.op) in OPERATORS:
                sign, meaning = OPERATORS[type(node.op)]
                return self._gate(node, sign, meaning, *map(self.visit, (node.left, node.right)))
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name)
            case _:
                raise self.source.error(node, _refusal(node))

    def _call(self, node: ast.Call, name: str) -> Argument:
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            known = ", ".join(FUNCTIONS)
            raise self.source.error(node, f"unknown function {name}: {hint}known: {known}")
        function = FUNCTIONS[name]
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        if node.keywords or starred or len(node.args) != function.arguments:
            count = len(node.args) + len(node.keywords)
            wanted = f"{function.arguments} argument{'s' * (function.arguments > 1)}"
            raise self.source.error(node, f"{name} takes {wanted}, got {count}")
        return self._gate(node, name, function.compute, *map(self.visit, node.args))

    def _gate(self, syntax: ast.expr, sign: str, meaning: Meaning, *given: Argument) -> Argument:
        if not any(isinstance(argument, fx.Node) for argument in given):
            return self._number(syntax, meaning, *given)
        if len(self.graph.nodes) >= MOST_GATES:
            raise self.source.error(syntax, f"more than {MOST_GATES} gates can't be drawn")
        node = self.graph.call_function(meaning, given)
        node.meta |= {
            "label": _label(sign, given),
            "text": ast.unparse(syntax),
            "syntax": syntax,
        }
        return node

    def _number(self, syntax: ast.expr, meaning: Meaning, *given: Argument) -> float:
        """What an operation on numbers alone comes to."""
        numbers = [torch.tensor(number, dtype=torch.double) for number in given]
        check_division(syntax, numbers, self.source)
        result = compute(meaning, numbers, syntax, self.source)
        return float(result)


FACTOR = OPERATORS[ast.Mult]


def compute(
    meaning: Meaning, given: Sequence[Tensor | float], syntax: ast.expr, source: Source
) -> Tensor:
    """The result of one operation.

    Raises `UserError` if the shapes don't fit, or if it is not finite.
    """
    text = ast.unparse(syntax)
    try:
        result: Tensor = meaning(*given)
    except (RuntimeError, IndexError) as error:
        shapes = " and ".join(str(list(torch.as_tensor(value).shape)) for value in given)
        problem = f"{text}: the shapes {shapes} don't go together"
        raise source.error(syntax, problem) from error
    if not result.isfinite().all():
        problem = f"{text} is {_bad(result):g}, not a finite number"
        raise source.error(syntax, problem + _domain(syntax))
    return result


def check_division(syntax: ast.expr, given: Sequence[Tensor | float], source: Source) -> None:
    """Raise `UserError` for a division by zero, a negative power of zero among them."""
    if not isinstance(syntax, ast.BinOp):
        return
    first, second = (torch.as_tensor(value) for value in given)
    divides = isinstance(syntax.op, ast.Div) and bool((second == 0).any())
    inverts = isinstance(syntax.op, ast.Pow) and bool(((first == 0) & (second < 0)).any())
    if divides or inverts:
        raise source.error(syntax, f"division by zero, in {ast.unparse(syntax)}")


def _domain(syntax: ast.expr) -> str:
    if isinstance(syntax, ast.Call) and isinstance(syntax.func, ast.Name):
        defined = FUNCTIONS[syntax.func.id].defined
        return f": {syntax.func.id} is defined for {defined}" if defined else ""
    return ""


def _bad(result: Tensor) -> float:
    return float(result.detach()[~result.isfinite()].flatten()[0])


def _label(sign: str, given: tuple[Argument, ...]) -> str:
    """`*` between nodes; `*-1`, `+1` and `1/x` where the other is a number."""
    if sign.isalpha() or all(isinstance(argument, fx.Node) for argument in given):
        numbers = [f"{value:g}" for value in given if not isinstance(value, fx.Node)]
        return f"{sign} {' '.join(numbers)}".strip()
    first, second = given
    if not isinstance(second, fx.Node):
        return f"{sign}{second:g}"
    if sign in "+*":
        return f"{sign}{first:g}"
    return f"{first:g}{sign}x"


def _refusal(node: ast.expr) -> str:
    match node:
        case ast.BinOp(op=ast.BitXor()):
            return "^ is no operator here: a power is written **"
        case ast.BinOp():
            return "no such operator here: use + - * / ** @"
        case ast.List():
            return "give a matrix as the value of a name: w=[[1, 2], [3, 4]]"
        case _:
            kinds = "numbers, names, + - * / ** @, and functions"
            return f"{ast.unparse(node)[:40]}: only {kinds} can be used"
