"""The recipes that come with nnrecipe, by name."""

from __future__ import annotations

import os
from pathlib import Path

from nnrecipe.core.errors import UserError
from nnrecipe.recipe.suggestions import nearest

_PACKAGE = Path(__file__).parents[1]


def presets() -> dict[str, Path]:
    """Every preset's name (`quickstart`, `lecture/overfit-20`) and its file, in order of names."""
    folder = _folder()
    files = {str(path.relative_to(folder).with_suffix("")): path for path in folder.rglob("*.yaml")}
    return dict(sorted((name.replace(os.sep, "/"), path) for name, path in files.items()))


def schema() -> Path:
    """The JSON Schema of configs, which lies beside the presets; an absolute path."""
    return (_folder() / "recipe.schema.json").resolve()


def _folder() -> Path:
    """An installed package has the presets in `nnrecipe/configs`, a checkout beside its package."""
    inside, beside = _PACKAGE / "configs", _PACKAGE.parent / "configs"
    return inside if inside.is_dir() else beside


def find_config(name: str) -> Path:
    """The file that a command's CONFIG means: an existing file, else a preset.

    Raises `UserError` with the most similar presets if it is neither.
    """
    if os.path.isfile(name):  # unlike Path.is_file, not an error on long names
        return Path(name)
    known = presets()
    if name in known:
        return known[name]
    if os.path.isdir(name):
        raise UserError(f"{name}: is a folder: name a config file in it")
    close = nearest(name, known)
    hint = f"did you mean {close}? " if close else ""
    raise UserError(f"{name[:200]}: no such file or preset: {hint}`nnrecipe ls` lists the presets")


def description(path: Path) -> str:
    """What a preset is, in one line: its first comment that isn't for an editor."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "yaml-language-server" not in line:
            return line.strip("# ")
    return ""
