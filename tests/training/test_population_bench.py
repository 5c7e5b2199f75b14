"""The benchmark of populations runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_replicas"


@pytest.mark.slow
def test_smoke() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--smoke"], check=True, capture_output=True, text=True
    )
    assert "LeNet-5" in done.stdout
