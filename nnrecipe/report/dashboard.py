"""TensorBoard on a run folder, for this machine alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nnrecipe.core.errors import UserError
from nnrecipe.core.progress import Progress

HOST = "127.0.0.1"
FIRST_PORT = 6006
EVENTS = "events.out.tfevents*"


def serve(folder: Path, port: int | None, *, progress: Progress) -> None:
    """Run TensorBoard as a child process until Ctrl-C; say its address once it answers.

    Without a `port` it takes the first free one from 6006. Raises `UserError` if the folder has no
    event files, if the port is taken, or if TensorBoard ends by itself.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: name the folder of a run")
    if next(folder.rglob(EVENTS), None) is None:
        raise UserError(f"{folder}: no TensorBoard files in it: name the folder of a run")
    port = _first_free() if port is None else port
    if not _is_free(port):
        raise UserError(f"--port {port}: something listens there already: name another port")
    where = ["--logdir", str(folder), "--host", HOST, "--port", str(port)]
    command = [sys.executable, "-m", "tensorboard.main", *where]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the child must not outlive us
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_up(child, port)
            progress.say(f"TensorBoard: http://{HOST}:{port}/ (Ctrl-C ends it)")
            child.wait()
        finally:
            child.terminate()
            child.wait()
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
    raise UserError(f"TensorBoard ended by itself: {last or f'exit code {child.returncode}'}")


def _wait_until_up(child: subprocess.Popen[bytes], port: int) -> None:
    while child.poll() is None and _is_free(port):
        time.sleep(0.1)


def _is_free(port: int) -> bool:
    """Whether nothing on this machine answers at the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _first_free() -> int:
    return next(port for port in range(FIRST_PORT, 2**16) if _is_free(port))
