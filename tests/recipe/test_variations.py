from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnrecipe.core.errors import UserError
from nnrecipe.recipe.variations import Cell, cells, split_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("none,batch", ["none", "batch"]),
        (" none , batch ", ["none", "batch"]),
        ("0.1", ["0.1"]),
        ("[100],[200,100]", ["[100]", "[200,100]"]),
        ("zeros,{kind: normal, std: 1.0}", ["zeros", "{kind: normal, std: 1.0}"]),
        ("{a: [1, {b: 2, c: 3}], d: 4},5", ["{a: [1, {b: 2, c: 3}], d: 4}", "5"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("'it''s, well',c", ["'it''s, well'", "c"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        ("it's,that's", ["it's", "that's"]),
        ("['],', 1],2", ["['],', 1]", "2"]),
        ("{k: ',}'},2", ["{k: ',}'}", "2"]),
        ("a=b,c=d", ["a=b", "c=d"]),
        ("a,,b", ["a", "", "b"]),
        ("", [""]),
    ],
)
def test_commas_split_outside_of_brackets_and_quotes(text: str, values: list[str]) -> None:
    assert split_values(text) == values


plain = st.one_of(st.integers(), st.text("ab, []{}'\":#-", max_size=6), st.booleans(), st.none())
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1),
    inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(st.lists(values, min_size=1, max_size=4))
def test_whatever_yaml_writes_on_one_line_comes_back(wanted: list[object]) -> None:
    """PyYAML is the reference: what it dumps in flow style, with commas between, is split again."""
    dumped = [
        yaml.safe_dump(value, default_flow_style=True, width=10**6, default_style='"')
        .removesuffix("\n")
        .removesuffix("\n...")
        for value in wanted
    ]
    assert split_values(",".join(dumped)) == dumped
    assert [yaml.safe_load(part) for part in split_values(",".join(dumped))] == wanted


@pytest.mark.parametrize("text", ["[1,2", "1,2]", "{a: 1", "]1[", "'a,b", '1,"a'])
def test_what_does_not_close_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match=r"--vary: .*(close|partner)"):
        split_values(text)


def test_the_product_is_in_the_order_given() -> None:
    found = cells(["norm=none,batch", "optimizer.lr=0.1,0.01"])
    assert found == [
        Cell("norm=none,lr=0.1", ("norm=none", "optimizer.lr=0.1")),
        Cell("norm=none,lr=0.01", ("norm=none", "optimizer.lr=0.01")),
        Cell("norm=batch,lr=0.1", ("norm=batch", "optimizer.lr=0.1")),
        Cell("norm=batch,lr=0.01", ("norm=batch", "optimizer.lr=0.01")),
    ]


def test_nothing_varied_is_one_cell_as_it_is() -> None:
    assert cells([]) == [Cell("", ())]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["init=zeros,{kind: normal, std: 1.0}"], ["init=zeros", "init=normal-std-1.0"]),
        (["architecture.widths=[100],[200,100]"], ["widths=100", "widths=200-100"]),
        (["architecture.kind=mlp,resnet"], ["architecture=mlp", "architecture=resnet"]),
        (["a.lr=1", "b.lr=-2"], ["a.lr=1,b.lr=-2"]),
        (["x=[],{}"], ["x=empty", "x=empty~2"]),
        (["x=a b,a/b,A:b"], ["x=a-b", "x=a-b~2", "x=A-b~3"]),
        (["x=../../etc,~"], ["x=..-..-etc", "x=empty"]),
        (["architecture=torchvision:alexnet"], ["architecture=torchvision-alexnet"]),
    ],
)
def test_names_are_short_readable_and_apart(texts: list[str], names: list[str]) -> None:
    assert [cell.name for cell in cells(texts)] == names


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=5, unique=True))
def test_any_values_make_folders(texts: list[str]) -> None:
    try:
        found = cells([f"key={text}" for text in texts[:1]] + [f"other={texts[-1]}"])
    except UserError:
        return
    names = [cell.name for cell in found]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._+=,~-]{1,140}", name) for name in names)
    assert all(Path(name).name == name for name in names)


def test_many_long_values_stay_apart() -> None:
    long = ["x" * 200 + str(number) for number in range(30)]
    found = cells([f"a={','.join(long)}", f"b={','.join(long)}"])
    assert [cell.overrides for cell in found] == [
        (f"a={a}", f"b={b}") for a, b in itertools.product(long, long)
    ]
    assert len({cell.name for cell in found}) == 900


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["norm"], "names no values"),
        (["=a,b"], "names no values"),
        (["~norm"], "names no values"),
        (["norm="], "a value is empty"),
        (["norm=a,,b"], "a value is empty"),
        (["norm=a,b,a"], "a is given twice"),
        (["norm=a", "norm=b"], "in one --vary"),
        (["seed=0,1"], "use --seeds"),
    ],
)
def test_what_is_no_list_of_values_is_an_error(texts: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        cells(texts)
