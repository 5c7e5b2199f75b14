"""What `diagnose` advises: nothing of a config, which its user doesn't have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnrecipe.checks
from nnrecipe.checkup.advice import PLAIN, in_plain_code
from nnrecipe.core.findings import Finding, Verdict

CHECKS = Path(nnrecipe.checks.__file__).parent
OF_A_TRAINING = "history"
"""The family of checks that `diagnose` doesn't make."""
KEYS = "data|architecture|init|norm|regularization|loss|optimizer|scheduler|training|transfer"
OF_A_CONFIG = re.compile(
    rf"(?<![\w.])({KEYS}|stages)\.(?!step\b)[a-z_]+(?![\w=(])"
    r"|\b(init|norm|architecture): [a-z]|: \{kind|or auto"
)


def _advice(text: str) -> str:
    finding = Finding(check="c", verdict=Verdict.WARN, measured="1", expected="2", advice=text)
    return in_plain_code(finding).advice


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = [path for path in CHECKS.rglob("*.py") if OF_A_TRAINING not in path.parts]
    assert len(files) > 40
    return [text for path in files for text in _sentences(path)]


def _sentences(path: Path) -> Iterator[str]:
    """The strings of a module, of which a sentence is more than one word; a value in it is 3."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    inner = {id(p) for node in nodes if isinstance(node, ast.JoinedStr) for p in node.values}
    for node in nodes:
        text = ""
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "3" for p in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = "" if id(node) in inner else node.value
        if len(text.split()) > 1:
            yield text


def test_no_check_advises_plain_code_on_a_config(texts: list[str]) -> None:
    assert [told for told in map(_advice, texts) if OF_A_CONFIG.search(told)] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Set optimizer.lr: 0.01, or auto: at the declared rate a step hardly moves",
            "Give the optimizer lr=0.01: at the declared rate a step hardly moves",
        ),
        (
            "Weigh the classes (loss: {kind: cross_entropy, class_weights: balanced}), or draw",
            "Weigh the classes (nn.CrossEntropyLoss(weight=1 / counts)), or draw",
        ),
        ("return logits from forward", "return logits from forward"),
    ],
)
def test_it_names_what_there_is_in_plain_code(text: str, told: str) -> None:
    assert _advice(text) == told


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in PLAIN])
def test_every_pattern_is_of_use(pattern: str, texts: list[str]) -> None:
    assert any(re.search(pattern, text) for text in texts)
