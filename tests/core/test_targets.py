from __future__ import annotations

import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.core.targets import Target, accepted, call_target, describe, import_target

SOURCE = """\
class Box:
    @staticmethod
    def open():
        return "open"

NUMBER = 3

def add(a, b=1):
    return a + b

def broken():
    return 1 / 0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module in the current folder, and a way to write others beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write("user_code_of_test_targets", SOURCE), write
    for name in set(sys.modules) - before:
        if name.startswith("user_code_"):
            del sys.modules[name]


@pytest.mark.parametrize("text", ["a:b", "a.b.c:d", "a:B.c", "_a1:_b"])
def test_a_target_is_a_module_and_a_name(text):
    assert TypeAdapter(Target).validate_python(text) == text


@pytest.mark.parametrize("text", ["a", "a.b", "a:", ":b", "a:b:c", "a/b.py:c", "1a:b", "a b:c"])
def test_anything_else_is_no_target(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Target).validate_python(text)


def test_targets_are_found_in_the_current_folder(module):
    name, _ = module
    assert call_target("loss.target", f"{name}:add", 1, b=2) == 3


def test_targets_may_be_attributes_of_a_class(module):
    name, _ = module
    assert import_target("loss.target", f"{name}:Box.open")() == "open"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("user_code_of_test_targets:subtract", "has no 'subtract'"),
        ("user_code_of_test_targets:Box.shut", "has no 'Box.shut'"),
        ("user_code_of_test_targets:NUMBER", "'NUMBER' is not callable"),
        ("user_code_that_is_absent:add", "no module 'user_code_that_is_absent'"),
    ],
)
def test_a_target_that_is_not_there_is_the_users_error(module, target, message):
    with pytest.raises(UserError, match=message) as caught:
        import_target("architecture.target", target)
    assert str(caught.value).startswith("architecture.target: ")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import user_code_dependency", "no module 'user_code_dependency'"),
        ("x = 1\ny = x / 0\n", r"ZeroDivisionError: .*user_code_bad\.py:2"),
        ("x = 1\ndef f(:\n", r"SyntaxError: .*user_code_bad\.py:2"),
    ],
)
def test_a_module_that_fails_to_import_is_the_users_error(module, source, message):
    _, write = module
    write("user_code_bad", source)
    with pytest.raises(UserError, match=message):
        import_target("data.target", "user_code_bad:f")


def test_an_error_inside_the_target_names_file_and_line(module):
    name, _ = module
    with pytest.raises(UserError, match=rf"loss.target: .*ZeroDivisionError.*{name}\.py:12\)"):
        call_target("loss.target", f"{name}:broken")


def test_a_users_error_passes_through_as_it_is(module):
    _, write = module
    source = "from nnrecipe.core.errors import UserError\ndef f():\n    raise UserError('mine')\n"
    name = write("user_code_raising", source)
    with pytest.raises(UserError, match=r"^mine$"):
        call_target("data.target", f"{name}:f")


def test_only_the_keywords_it_takes_are_accepted():
    def one(a, *, b=0):
        return a + b

    def anything(**kwargs):
        return kwargs

    assert accepted(one, b=1, c=2) == {"b": 1}
    assert accepted(anything, b=1, c=2) == {}


def test_an_error_without_own_lines_is_described_by_kind_and_message():
    assert describe(KeyError("lr")) == "KeyError: 'lr'"
    assert describe(ValueError("first\nsecond")) == "ValueError: first"
