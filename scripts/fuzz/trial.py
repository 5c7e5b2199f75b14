"""One config in a command of its own, in this process: how it ended, and where it wrote."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnrecipe.cli import main

CONFIG = "config.yaml"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
}
"""Which arguments of python's audit events are paths that something is done to."""


@dataclass(frozen=True)
class Trial:
    """What is tried: a command, the bytes of its config, and where the config comes from."""

    number: int
    source: str
    command: tuple[str, ...]
    content: bytes


@dataclass(frozen=True)
class Judgement:
    """How it ended: the exit code, what was printed, and what it touched that isn't its own."""

    code: int
    printed: str
    outside: tuple[str, ...] = ()


class Watch:
    """Notes what this process writes outside of its folder, and keeps it off the network."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.own = base / "none"
        self.found: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & WRITING) if isinstance(flags, int) else "r" not in str(mode)
            paths = [path] if writes else []
        else:
            paths = [arguments[place] for place in PATHS.get(event, ())]
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                self._note(event, os.path.abspath(os.fsdecode(path)))

    def _note(self, event: str, path: str) -> None:
        allowed = (str(self.own), str(self.base / "tmp"), "/dev/", "/proc/self/")
        if not path.startswith(allowed):
            self.found.append(f"{event} {path}")


def try_out(trial: Trial, watch: Watch) -> Judgement:
    """Run the command as a user would, in a folder of its own that is deleted afterwards.

    A run writes to `runs/` in there, and reading a config writes nothing at all.
    """
    folder = watch.base / "work" / str(trial.number)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_bytes(trial.content)
    path, before, tree = list(sys.path), os.getcwd(), _tree(watch.base)
    watch.own, watch.found = folder / "runs", []
    os.chdir(folder)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main([*trial.command, CONFIG])
    finally:
        runs = folder / "runs"
        left = [f for f in _tree(watch.base) - tree if runs not in (f, *f.parents)]
        outside = (*watch.found, *(f"left {place}" for place in sorted(left)))
        watch.own = watch.base
        os.chdir(before)
        sys.path[:] = path
        shutil.rmtree(folder)
    return Judgement(code, printed.getvalue(), outside)


def _tree(base: Path) -> set[Path]:
    """What lies in the watched tree, but for the scratch folder."""
    return {place for place in base.rglob("*") if base / "tmp" not in (place, *place.parents)}


def settle_in(base: Path, warm_up: Trial, *, memory: int) -> Watch:
    """Make this process a place for trials: a home and scratch of its own, a bound on its memory.

    `memory` is in bytes of address space: what a config asks for beyond it fails as on a small
    machine, instead of filling a large one. What packages keep in the home folder when they are
    first used is there after `warm_up`.
    """
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR"), ("home", "XDG_CACHE_HOME")):
        (base / name).mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(base / name)
    tempfile.tempdir = None  # it keeps the place that it once had
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    watch = Watch(base)
    try_out(warm_up, watch)
    return watch


def allow(seconds: int) -> None:
    """Have the system end this process once it has computed for so many more seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, hard))
