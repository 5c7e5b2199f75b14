from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nnrecipe.recipe import load
from nnrecipe.recipe.presets import presets


@pytest.mark.parametrize("name", presets())
def test_what_is_printed_is_the_same_recipe(name: str, tmp_path: Path) -> None:
    loaded = load(name)
    path = tmp_path / "again.yaml"
    path.write_text(loaded.resolved)
    again = load(path)
    assert again.recipe == loaded.recipe
    assert yaml.safe_load(loaded.resolved) == loaded.recipe.model_dump(mode="json")


def test_every_value_names_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: digits\narchitecture:\n  kind: mlp\n  widths: [3]\n")
    other = tmp_path / "d.yaml"
    other.write_text("\nseed: 5\n")
    loaded = load(path, other, overrides=["optimizer.lr=1e-3", "stages.overfit.steps=3"])
    lines = [tuple(map(str.strip, line.split(" #"))) for line in loaded.resolved.splitlines()]
    assert ("name: c", "the file's name") in lines
    assert ("seed: 5", "d.yaml:2") in lines
    assert ("kind: digits", "c.yaml:1") in lines
    assert ("widths: [3]", "c.yaml:4") in lines
    assert ("lr: 0.001", "optimizer.lr=1e-3") in lines
    assert ("steps: 3", "stages.overfit.steps=3") in lines
    assert ("momentum: 0.0", "default") in lines
    assert all(line.endswith(":") or " # " in line for line in loaded.resolved.splitlines())


@pytest.mark.parametrize(
    "text",
    ["1e-3", "on", "null", "~", "a: b", "a #b", "[x", "a, b", "'", '"', "é\n b\x07", "-", "", "😀"],
)
def test_text_reads_back_as_itself(tmp_path: Path, text: str) -> None:
    config = {
        "data": "digits",
        "architecture": {"kind": "custom", "target": "a:b", "args": {text: text, "l": [text]}},
    }
    path, again = tmp_path / "c.yaml", tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(config, default_style='"'))
    loaded = load(path)
    again.write_text(loaded.resolved)
    assert load(again).recipe.architecture == loaded.recipe.architecture
    assert loaded.recipe.architecture.model_dump()["args"] == {text: text, "l": [text]}
