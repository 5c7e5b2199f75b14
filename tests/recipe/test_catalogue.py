from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.layers import Norm
from nnrecipe.recipe import Recipe, load_recipe
from nnrecipe.recipe.catalogue import FAMILIES, entries, print_family
from nnrecipe.recipe.slots import Slot, slot_of
from nnrecipe.regularization import Regularization

ENTRIES = [
    pytest.param(entry, id=f"{family}-{heading}-{entry.word}")
    for family in FAMILIES
    for heading, listed in entries(family).items()
    for entry in listed
]


def shown(family: str, *, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_family(family, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("entry", ENTRIES)
def test_everything_says_what_it_is_and_where_it_is_from(entry: Any) -> None:
    assert entry.meaning
    assert entry.source


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_meaning_is_a_line_and_leaves_the_source_to_its_place(entry: Any) -> None:
    assert "\n" not in entry.meaning
    assert len(entry.meaning) <= 130
    assert not re.search(r"et al| (19|20)\d\d\b", entry.meaning)


def test_the_families_are_all_those_that_a_recipe_can_name() -> None:
    """Walked from `Recipe` itself: a new family that nobody lists is found here."""
    own = {"tracking"}  # what else has a kind, but no choice to show
    listed = {
        frozenset(kind_of(member) for member in listed_members(family))
        for family in FAMILIES
        if family != "regularization"
    }
    sections = Slot(spec=Recipe)
    found = {key: slot for key, slot in families(sections) if key not in own}
    stray = {key for key, slot in found.items() if not covered(frozenset(slot.kinds), listed)}
    assert stray == set()


def families(slot: Slot) -> list[tuple[str, Slot]]:
    """Every family below a section, with the key that holds it."""
    found = []
    specs = [slot.spec] if slot.spec is not None else list(slot.kinds.values())
    for spec in specs:
        for name, info in spec.model_fields.items():
            child = slot_of(info)
            child = child.item if child.item is not None else child
            if child.kinds:
                found.append((name, child))
            if child.kinds or child.spec is not None:
                found += families(child)
    return found


def covered(kinds: frozenset[str], listed: set[frozenset[str]]) -> bool:
    return any(kinds <= family for family in listed)


def listed_members(family: str) -> list[Any]:
    from nnrecipe.recipe.catalogue import _unions

    return [member for union in _unions(family).values() for member in members(union)]


def test_regularization_lists_its_keys() -> None:
    (listed,) = entries("regularization").values()
    assert [entry.word for entry in listed] == list(Regularization.model_fields)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_header_says_can_be_written(family: str, tmp_path: Path) -> None:
    in_file, in_command = FAMILIES[family]
    base = tmp_path / "base.yaml"
    base.write_text("data: digits\narchitecture: {kind: mlp, widths: [8]}\noptimizer: {lr: 0.1}\n")
    example = tmp_path / "example.yaml"
    example.write_text(in_file)
    key = in_file.partition(":")[0]
    if family not in ("data", "architectures"):  # these change what the rest must fit
        changed = load_recipe(base, example)
        assert getattr(changed, key) != getattr(load_recipe(base), key)
    assert load_recipe("quickstart", overrides=[in_command])
    assert shown(family, width=100)[0].endswith(in_file)
    assert shown(family, width=100)[1].endswith(in_command)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_fits_the_terminal_and_loses_no_word(family: str, width: int) -> None:
    lines = shown(family, width=width)
    assert max(map(len, lines)) <= width
    # Columns stand side by side, and what is longer than one is broken: its letters are all there.
    letters = Counter("".join("".join(lines[lines.index("") :]).split()))
    expected: Counter[str] = Counter()
    for heading, listed in entries(family).items():
        for entry in listed:
            expected.update("".join((entry.word + entry.meaning + entry.source).split()))
        expected.update(heading)
    assert letters == expected


def test_columns_are_aligned() -> None:
    lines = shown("norms", width=120)[3:]
    starts = {
        line.index(entry.meaning.split()[0], len(entry.word))
        for entry in entries("norms")[""]
        for line in lines
        if line.startswith(f"{entry.word} ")
    }
    assert len(starts) == 1
    assert [line.split()[0] for line in lines if line[0] != " "] == [
        kind_of(member) for member in members(Norm)
    ]


@pytest.mark.parametrize(("word", "hint"), [("optimizer", "'optimizers'"), ("nothing", "norms")])
def test_an_unknown_family_is_an_error(word: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"ls {word}: no such family: .*{hint}"):
        entries(word)
