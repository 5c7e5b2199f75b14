import sys
import textwrap

import pytest
from pydantic import TypeAdapter
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm

CODE = """
    import math
    from torch import nn

    def sized(inputs, num_classes, width=8):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(inputs), width), nn.Linear(width, num_classes)
        )

    def regression(inputs, num_outputs):
        return nn.Linear(math.prod(inputs), num_outputs)

    def both(num_classes, num_outputs):
        return nn.Linear(num_classes, num_outputs)

    class Fixed(nn.Linear):
        def __init__(self):
            super().__init__(12, 5)

    def broken(num_classes):
        return nn.Linear(num_classes / 0, 2)

    def number():
        return 3
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_model", raising=False)

    def build(name, *, hidden=None, **args):
        custom = {"kind": "custom", "target": f"own_model:{name}", "args": args}
        spec = TypeAdapter(Architecture).validate_python(custom)
        return spec.build((3, 2, 2), OutputSpec(10), hidden=hidden or Hidden())

    yield build
    sys.modules.pop("own_model", None)


def test_shape_and_classes_are_given_where_they_are_taken(build):
    flatten, hidden, output = build("sized")
    assert isinstance(flatten, nn.Flatten)
    assert (hidden.in_features, hidden.out_features, output.out_features) == (12, 8, 10)
    assert build("Fixed").out_features == 5


def test_outputs_have_two_names(build):
    assert build("regression").out_features == 10
    assert (build("both").in_features, build("both").out_features) == (10, 10)


def test_args_go_first(build):
    _, hidden, output = build("sized", width=4, num_classes=7)
    assert (hidden.out_features, output.out_features) == (4, 7)


def test_an_error_in_it_names_its_line(build):
    with pytest.raises(UserError, match=r"architecture\.target: own_model:broken failed: .*py:21"):
        build("broken")


def test_something_else_than_a_module_is_refused(build):
    with pytest.raises(UserError, match=r"own_model:number returned int, not a torch\.nn\.Module"):
        build("number")


def test_a_missing_name_is_refused(build):
    with pytest.raises(UserError, match=r"architecture\.target: .*has no 'absent'"):
        build("absent")


@pytest.mark.parametrize(
    ("hidden", "path"),
    [
        (Hidden(norm=BatchNorm()), "norm"),
        (Hidden(dropout=Dropout(drop=0.5)), r"regularization\.dropout"),
        (Hidden(dropout=Dropout(drop=0.5, force=True)), r"regularization\.dropout\.force"),
        (Hidden(dropblock=DropBlock()), r"regularization\.dropblock"),
        (Hidden(stochastic_depth=0.5), r"regularization\.stochastic_depth"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_can_be_put_into_it(build, hidden, path):
    with pytest.raises(
        UserError, match=rf"^{path}: can't be put into a custom architecture: leave"
    ):
        build("Fixed", hidden=hidden)
