from __future__ import annotations

from pathlib import Path

import pytest

from nnrecipe.core.errors import UserError
from nnrecipe.recipe import load
from nnrecipe.recipe.presets import description, find_config, presets


@pytest.mark.parametrize("name", presets())
def test_preset_is_valid_and_says_what_it_is_and_how_to_run_it(name: str) -> None:
    text = presets()[name].read_text()
    assert load(name).recipe.name == name.rpartition("/")[2]
    assert text.startswith("# yaml-language-server: $schema=")
    assert f"nnrecipe run {name}" in text
    assert 10 < len(description(presets()[name])) < 100


def test_names_have_no_suffix_and_may_have_a_folder() -> None:
    assert {"quickstart", "lecture/overfit-20"} <= set(presets())


def test_a_file_wins_over_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("quickstart") == presets()["quickstart"]
    Path("quickstart").write_text("data: digits")
    assert find_config("quickstart") == Path("quickstart")


@pytest.mark.parametrize("name", ["quikstart", "nothing-like-it", "", "x" * 9999, "a\0b", "../x"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match="no such file or preset") as caught:
        find_config(name)
    assert ("did you mean quickstart?" in str(caught.value)) == (name == "quikstart")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        find_config(str(tmp_path))
