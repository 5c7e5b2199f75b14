"""The configs that `--vary` means: the product of several values of several keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from nnrecipe.core.errors import UserError

_PIECE = re.compile(
    r"""(?<![^\s,\[{:])(?:'(?:[^']|'')*'|"(?:[^"\\]|\\.)*")|.""",
    re.DOTALL,
)
"""A quoted text where a value may begin, or else one character."""
_WORD = re.compile(r"[A-Za-z0-9._+-]+")
_LONGEST_VALUE, _LONGEST_NAME = 40, 120  # characters; file systems allow 255 bytes
_FORM = "write key=value,value as in --vary norm=none,batch"


@dataclass(frozen=True)
class Cell:
    """One config of a grid: the overrides that make it, and its name, which can be a folder's."""

    name: str
    overrides: tuple[str, ...]


def cells(texts: Sequence[str]) -> list[Cell]:
    """The cells of a grid, from what is given as `--vary`: the first key varies slowest.

    Without any text it is one cell without a name. Raises `UserError` for what is no list of values
    of a key, and for a key or a value that is given twice.
    """
    varied: dict[str, list[str]] = {}
    for text in texts:
        key, values = _read(text)
        if key in varied:
            raise UserError(f"--vary {key}: is given twice: list all its values in one --vary")
        varied[key] = values
    short = [_short(key) for key in varied]
    keys = [one if short.count(one) == 1 else key for one, key in zip(short, varied, strict=True)]
    found: dict[str, Cell] = {}
    for combination in product(*varied.values()):
        parts = zip(keys, combination, strict=True)
        name = ",".join(f"{_safe(key)}={_safe(value)}" for key, value in parts)[:_LONGEST_NAME]
        while name.lower() in found:  # not every file system tells cases apart
            name = _numbered(name)
        overrides = tuple(f"{k}={v}" for k, v in zip(varied, combination, strict=True))
        found[name.lower()] = Cell(name, overrides)
    return list(found.values())


def split_values(text: str) -> list[str]:
    """What stands between the commas that are outside of brackets and quotes.

    Raises `UserError` if brackets or quotes don't match.
    """
    parts, open_brackets = [""], 0
    for piece in _PIECE.findall(text):
        if piece in ("'", '"') and not parts[-1].strip():
            raise UserError(f"--vary: {text}: a quotation mark has no partner: close it")
        open_brackets += (piece in "[{") - (piece in "]}")
        if open_brackets < 0:
            break
        if piece == "," and not open_brackets:
            parts.append("")
        else:
            parts[-1] += piece
    if open_brackets:
        raise UserError(f"--vary: {text}: the brackets don't match: open and close each one")
    return [part.strip() for part in parts]


def _read(text: str) -> tuple[str, list[str]]:
    """The key and its values."""
    key, equals, rest = text.partition("=")
    key = key.strip()
    if not key or not equals:
        raise UserError(f"--vary {text}: names no values: {_FORM}")
    if key == "seed":
        raise UserError("--vary seed: runs that differ in their seed are one row: use --seeds")
    values = split_values(rest)
    if "" in values:
        raise UserError(f"--vary {text}: a value is empty: {_FORM}")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UserError(f"--vary {key}: {twice} is given twice: name each value once")
    return key, values


def _short(key: str) -> str:
    """`lr` for `optimizer.lr`, `norm` for `norm.kind`."""
    return key.removesuffix(".kind").rpartition(".")[2]


def _safe(text: str) -> str:
    """`text` as a part of a file's name: `{kind: normal, std: 1.0}` is `normal-std-1.0`."""
    words = _WORD.findall(text)
    if words[:1] == ["kind"]:
        del words[0]
    return "-".join(words)[:_LONGEST_VALUE] or "empty"


def _numbered(name: str) -> str:
    """Another name: `a` is followed by `a~2`, and that by `a~3`."""
    stem, _, number = name.partition("~")
    return f"{stem}~{int(number or 1) + 1}"
