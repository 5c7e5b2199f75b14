"""The script that tries configs which nobody would write, in small."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.trial import Judgement

SCRIPT = str(Path(__file__).parents[1] / "scripts" / "fuzz_config")


@pytest.mark.parametrize(
    ("judgement", "column"),
    [
        (Judgement(0, "c: valid"), "valid"),
        (Judgement(2, "c.yaml:1:1: ..."), "refused"),
        (Judgement(2, ""), "unexpected"),
        (Judgement(2, "Traceback (most recent call last)"), "unexpected"),
        (Judgement(3, "unexpected error"), "unexpected"),
        (Judgement(-signal.SIGSEGV, "the process died"), "unexpected"),
        (Judgement(-signal.SIGXCPU, "the process died"), "too slow"),
        (Judgement(0, "c: valid", ("open /etc/x",)), "outside"),
    ],
)
def test_what_counts_as_wrong(judgement: Judgement, column: str) -> None:
    assert runpy.run_path(SCRIPT)["verdict"](judgement) == column


def test_what_is_written_outside_is_seen(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fuzz import trial\n"
        "base = Path(sys.argv[1]); evil = Path(sys.argv[2])\n"
        "def main(arguments):\n    evil.write_text('x'); Path('beside').touch(); return 0\n"
        "trial.main = main\n"
        "watch = trial.Watch(base)\n"
        "found = trial.try_out(trial.Trial(1, 'run', ('run',), b''), watch).outside\n"
        "print(*found, sep='\\n')"
    )
    evil = tmp_path / "evil"
    scripts = str(Path(SCRIPT).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "base"), str(evil)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([scripts, *sys.path])},
    )
    assert f"open {evil}" in done.stdout
    assert f"left {tmp_path / 'base' / 'work' / '1' / 'beside'}" in done.stdout


@pytest.mark.slow
def test_fifty_configs() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--configs", "50", "--workers", "1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[:2] == ["together", "50"]
