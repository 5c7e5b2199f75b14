"""The ladder on real digits: which rates it finds good, and what it costs an expensive network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nnrecipe
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import StageResult, Verdict

DIGITS = """
data: digits
architecture: {kind: mlp, widths: [64, 32]}
training: {epochs: 20, batch_size: 64}
optimizer: {kind: adam, lr: auto}
stages: [lr_probe, train]
"""


def probed(tmp_path: Path, *overrides: str) -> StageResult:
    config = tmp_path / "digits.yaml"
    config.write_text(DIGITS)
    report = nnrecipe.run(
        config, overrides=overrides, output=tmp_path / "run", stages=["lr_probe"], keep_going=True
    )
    return report.stages[0]


@pytest.mark.parametrize(
    ("optimizer", "verdict", "cause"),
    [
        ("{kind: adam, lr: 1e-3}", Verdict.PASS, None),
        ("{kind: sgd, lr: 0.1}", Verdict.PASS, None),
        ("{kind: sgd, lr: 0.05, momentum: 0.9}", Verdict.PASS, None),
        ("{kind: adam, lr: 1e-6}", Verdict.WARN, Cause.LR_TOO_LOW),
        ("{kind: sgd, lr: 1e-5}", Verdict.WARN, Cause.LR_TOO_LOW),
        ("{kind: adam, lr: 0.5}", None, Cause.LR_TOO_HIGH),
        ("{kind: sgd, lr: 10.0}", Verdict.FAIL, Cause.LR_TOO_HIGH),
    ],
)
def test_rates_of_digits(
    optimizer: str, verdict: Verdict | None, cause: Cause | None, tmp_path: Path
) -> None:
    (finding,) = probed(tmp_path, f"optimizer={optimizer}").findings
    assert finding.cause is cause, finding
    assert verdict in (None, finding.verdict)
    assert bool(finding.change) is (cause is not None)


def test_the_suggestion_is_as_good_as_the_best(tmp_path: Path) -> None:
    facts = probed(tmp_path).facts
    ends = {rung["lr"]: rung["end_loss"] for rung in facts["ladder"]}
    start = facts["ladder"][0]["start_loss"]
    finite = [end for end in ends.values() if isinstance(end, float)]
    assert start - ends[facts["suggested"]] >= 0.9 * (start - min(finite))
    assert facts["steps"] == 40
    assert facts["batch_size"] == 64


def test_an_expensive_network_gets_fewer_steps_and_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def remember(setup: Any, batches: Any, **given: Any) -> Any:
        seen.append(batches)
        return climb(setup, batches, **given)

    from nnrecipe.stages.lr_probe import climb

    monkeypatch.setattr("nnrecipe.stages.lr_probe.RUNG_FLOPS", 3e7)
    monkeypatch.setattr("nnrecipe.stages.lr_probe.climb", remember)
    facts = probed(tmp_path).facts
    assert facts["steps"] == 24
    assert 32 <= facts["batch_size"] < 64
    assert all(len(batches) == 24 for batches in seen)
    assert len({id(batch) for batch in seen[0]}) == 4  # the same few again and again
    assert facts["suggested"] is not None
