"""Config files as text. Light: nothing here waits for torch."""

from __future__ import annotations

import re
from pathlib import Path

from nnrecipe.core.errors import Problem, RecipeError, UserError
from nnrecipe.recipe.presets import find_config, schema

_LARGEST_FILE = 1_000_000  # bytes; what is larger is no config but a checkpoint, say
_OWN_SCHEMA = re.compile(r"\A(# yaml-language-server: \$schema=)[./]*recipe\.schema\.json$", re.M)


def read_config(file: Path) -> str:
    """The text of a config file. Raises `UserError` if it can't be read, is huge or not UTF-8."""
    name = shown_path(file)
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{name}: is too large for a config: name a YAML file")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: can't be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        where = f"{name}:{line}:{column}"
        raise RecipeError([Problem(where, "YAML", message, "save the file as UTF-8")]) from error


def copy_config(name: str, destination: Path | None, *, force: bool) -> Path:
    """Copy a preset or a file, and return where to: `destination`, or its own name in this folder.

    A preset names its schema by a relative path; the copy names it by its place, so that editors
    complete its keys too. Raises `UserError` if the file exists and `force` is not given.
    """
    source = find_config(name)
    target = destination or Path(source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists() and not force:
        raise UserError(f"{target}: exists already: name another file, or add --force")
    text = _OWN_SCHEMA.sub(lambda match: match[1] + schema().as_uri(), read_config(source))
    try:
        target.write_bytes(text.encode())
    except OSError as error:
        raise UserError(f"{target}: can't be written: {error.strerror}") from error
    return target


def shown_path(file: Path) -> str:
    """Relative to the current folder where the file lies under it."""
    if file.is_absolute() and file.is_relative_to(Path.cwd()):
        return str(file.relative_to(Path.cwd()))
    return str(file)
