"""The line of the user's code that a cause may lie in."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.source_lines import OwnCode

SOURCE = """
import torch
from torch import nn

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x
    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient

class Net(nn.Module):
    def forward(self, x):
        # x.detach() in a comment is no cause
        hidden = x.detach()
        return Double.apply(hidden)

def make():
    return nn.Sequential(nn.Linear(2, 2), nn.Softmax(1))

def loss(logits, targets):
    return -nn.functional.cross_entropy(logits, targets)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine", module)
    spec.loader.exec_module(module)
    return module


def test_the_line_is_found_in_the_part_that_the_cause_is_of(mine: ModuleType) -> None:
    own = OwnCode(model=[mine.make, *mine.Net().modules()], loss=[mine.loss])
    assert own.line_of(Cause.DETACHED_GRAPH) == "mine.py:16: hidden = x.detach()"
    assert own.line_of(Cause.DOUBLE_SOFTMAX).startswith("mine.py:20: return nn.Sequential")
    assert own.line_of(Cause.SIGN_FLIPPED).startswith("mine.py:23: return -nn.functional")
    assert own.line_of(Cause.WRONG_GRADIENT).startswith("mine.py:10: def backward")


def test_a_cause_of_the_training_has_no_line(mine: ModuleType) -> None:
    own = OwnCode(model=[mine.Net()], loss=[mine.loss])
    assert own.line_of(Cause.LR_TOO_HIGH) == ""
    assert own.line_of(None) == ""


def test_installed_code_is_not_searched() -> None:
    own = OwnCode(model=[nn.Softmax(1)], loss=[nn.functional.nll_loss, len])
    assert own.line_of(Cause.DOUBLE_SOFTMAX) == ""
    assert own.line_of(Cause.MISSING_LOG_SOFTMAX) == ""


def test_a_result_gets_the_lines_of_its_findings(mine: ModuleType) -> None:
    finding = Finding(
        check="reach",
        verdict=Verdict.FAIL,
        measured="",
        expected="",
        cause=Cause.DETACHED_GRAPH,
        confidence=0.9,
    )
    own = OwnCode(model=[mine.Net()])
    result = own.located(StageResult.of("sanity", {}, [finding]))
    assert result.findings[0].where.startswith("mine.py:16")
    assert own.located(result) == result
