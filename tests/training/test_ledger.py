"""A search's trainings on disk: bit for bit, by what was trained, and past damage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nnrecipe.training.search.ledger import Ledger
from nnrecipe.training.search.trial import Job, JobResult

JOB = Job(3, {"optimizer.lr": 0.1, "norm": {"kind": "batch"}}, seed=7, epochs=2)
RESULT = JobResult(
    3, 7, "finished", figures=({"val_loss": 0.1 + 0.2}, {"val_loss": 1 / 3}), best=1, seconds=0.5
)


def test_a_result_comes_back_bit_for_bit_from_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    refused = JobResult(4, 7, "refused", reason="norm.kind: 'instance' can't\nbe")
    exploded = JobResult(5, 7, "exploded", figures=({"train_loss": math.inf},))
    ledger = Ledger(path)
    ledger.add(JOB, replace(RESULT, state={"w": torch.zeros(1)}))
    ledger.add(replace(JOB, trial=4), refused)
    ledger.add(replace(JOB, trial=5), exploded)
    for kept in (ledger, Ledger(path)):
        assert kept.get(JOB) == RESULT
        assert kept.get(replace(JOB, known=True, keep_state=True)) == RESULT
        assert kept.get(replace(JOB, trial=4)) == refused
        assert kept.get(replace(JOB, trial=5)) == exploded


@pytest.mark.parametrize(
    "change", [{"trial": 4}, {"seed": 8}, {"epochs": 3}, {"values": {"optimizer.lr": 0.2}}], ids=str
)
def test_another_training_is_not_known(change: dict[str, object], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.get(JOB) is None
    ledger.add(JOB, RESULT)
    assert ledger.get(replace(JOB, **change)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [b'{"job": "x"', b"not JSON\n", b'{"job": "x"}\n', b"[1]\n"])
def test_what_follows_damage_is_not_known_and_written_over(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    Ledger(path).add(JOB, RESULT)
    whole = path.read_bytes()
    path.write_bytes(whole + damage + whole.replace(b"[3,", b"[4,"))
    if not damage.endswith(b"\n"):
        path.write_bytes(whole + damage)  # torn
    kept = Ledger(path)
    assert kept.get(JOB) == RESULT
    assert kept.get(replace(JOB, trial=4)) is None
    assert path.read_bytes() == whole
    kept.add(replace(JOB, trial=4), RESULT)
    assert Ledger(path).get(replace(JOB, trial=4)) == RESULT
