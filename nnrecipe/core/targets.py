"""The user's own code, named in YAML as `target: package.module:callable`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field

from nnrecipe.core.errors import UserError

Target = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
"""`package.module:callable`; modules are looked for beside the config and in the current folder."""


def search_also(folder: Path) -> None:
    """Let targets name modules that lie in `folder`, and DataLoader workers find them too."""
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def import_target(path: str, target: str) -> Callable[..., Any]:
    """The callable that `target` names. `path` is the YAML path, for the message.

    Raises `UserError` if the module can't be imported or holds no such callable.
    """
    module_name, _, attribute = target.partition(":")
    search_also(Path.cwd())
    found: Any = _import(path, module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UserError(f"{path}: {target}: {module_name} has no {attribute!r}")
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"{path}: {target}: {attribute!r} is not callable")
    return found  # type: ignore[no-any-return]


def _import(path: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        remedy = "put it beside the config file or in the current folder, or install its package"
        raise UserError(f"{path}: no module {error.name!r} ({name}): {remedy}") from error
    except Exception as error:
        raise UserError(f"{path}: importing {name} failed: {describe(error)}") from error


def call_target(path: str, target: str, /, *args: Any, **kwargs: Any) -> Any:
    """Import a target and call it; an error inside it becomes a `UserError` with file and line."""
    function = import_target(path, target)
    with blaming(path, target):
        return function(*args, **kwargs)


def accepted(function: Callable[..., Any], **offers: Any) -> dict[str, Any]:
    """Those of the offered keyword arguments that `function` names among its parameters.

    A `**kwargs` doesn't count: what it is handed on to may not know them. A builtin without a
    signature gets none.
    """
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in offers.items() if name in names}


@contextmanager
def blaming(path: str, target: str) -> Iterator[None]:
    """Report an exception in the block as a mistake in the user's `target`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {target} failed: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """`RuntimeError: message (file.py:12)`: the kind, the message and the innermost own line.

    The innermost line outside installed packages is where a user can act.
    """
    own = _own_frames(error)
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}:{error.lineno})"
    else:
        place = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    first_line = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first_line}{place}"


def is_users_fault(error: BaseException) -> bool:
    """Whether the error passed through code that a target named, below nnrecipe's own."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [i for i, frame in enumerate(frames) if frame.filename.startswith(_PACKAGE)]
    below = frames[ours[-1] + 1 :] if ours else []
    return any(_is_own(frame) for frame in below)


def is_torchs(error: BaseException) -> bool:
    """Whether torch raised the error: a shape that doesn't fit in a module, say."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and f"{os.sep}torch{os.sep}" in frames[-1].filename


_PACKAGE = str(Path(__file__).parents[1])


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame)]


def _is_own(frame: traceback.FrameSummary) -> bool:
    return is_own_file(frame.filename)


def is_own_file(name: str) -> bool:
    """Whether a file is neither ours, nor an installed package's, nor the standard library's."""
    foreign = ("site-packages", "dist-packages", f"{os.sep}lib{os.sep}python")
    return not name.startswith((_PACKAGE, "<")) and not any(part in name for part in foreign)
