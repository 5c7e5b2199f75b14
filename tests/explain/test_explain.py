"""The lecture's graphs by their printed figures; what is wrong with an expression, and where."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from nnrecipe.cli import main
from nnrecipe.explain.examples import EXAMPLES
from nnrecipe.explain.layout import lay_out
from nnrecipe.explain.passes import Explanation, explain
from nnrecipe.explain.values import read_values


def explained(expression: str, *words: str) -> Explanation:
    return explain(expression, read_values(words))


def example(name: str) -> Explanation:
    return explained(EXAMPLES[name].expression, *EXAMPLES[name].values)


def gradients(explanation: Explanation) -> dict[str, float]:
    return {name: round(float(g.gradient), 2) for name, g in explanation.inputs.items()}


def test_the_gates_of_the_lecture() -> None:
    found = example("gates")
    assert float(found.result.value) == -12
    assert gradients(found) == {"x": -4, "y": -4, "z": 3}
    assert {gate.text: float(gate.gradient) for gate in found.gates}["x + y"] == -4


def test_the_sigmoid_neuron_of_the_lecture() -> None:
    found = example("sigmoid-neuron")
    wanted = {"w0": -0.20, "x0": 0.39, "w1": -0.39, "x1": -0.59, "w2": 0.20}
    assert round(float(found.result.value), 2) == 0.73
    assert gradients(found) == wanted
    chain = found.gates[-5:]
    assert [gate.label for gate in chain] == ["+", "*-1", "exp", "+1", "1/x"]
    assert [round(float(gate.value), 2) for gate in chain] == [1.00, -1.00, 0.37, 1.37, 0.73]
    assert [round(float(gate.gradient), 2) for gate in chain] == [0.20, -0.20, -0.53, -0.53, 1.00]


def test_the_two_layer_net_against_the_slides_backward_pass() -> None:
    found = example("two-layer-net")
    inputs = {name: gate.value.numpy() for name, gate in found.inputs.items()}
    x, y, w1, w2 = (inputs[name] for name in ("x", "y", "w1", "w2"))
    h = 1 / (1 + np.exp(-x.dot(w1)))
    y_pred = h.dot(w2)
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h.T.dot(grad_y_pred)
    grad_h = grad_y_pred.dot(w2.T)
    grad_w1 = x.T.dot(grad_h * h * (1 - h))
    assert float(found.result.value) == pytest.approx(np.square(y_pred - y).sum(), rel=1e-12)
    np.testing.assert_allclose(found.inputs["w1"].gradient, grad_w1, rtol=1e-12)
    np.testing.assert_allclose(found.inputs["w2"].gradient, grad_w2, rtol=1e-12)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("x*x + sigmoid(x)*max(x, y)", ("x=3", "y=1")),
        ("tanh(a@b) / sqrt(c) - log(c)**2", ("a=[1, -2]", "b=[0.5, 0.25]", "c=2")),
        ("softplus(x) + sin(x)*cos(x) - abs(x) + min(x, 2)*relu(x)", ("x=0.7",)),
        ("mean(transpose(w) * 2**w - -w)", ("w=[[1, 2], [3, -4]]",)),
    ],
)
def test_gradients_agree_with_differences(expression: str, words: tuple[str, ...]) -> None:
    values = read_values(words)
    found = explain(expression, values)
    for name, value in values.items():
        flat = value.flatten()
        for entry in range(len(flat)):
            step = torch.zeros_like(flat)
            step[entry] = 1e-6
            ends = [
                float(explain(expression, {**values, name: (flat + s).view_as(value)}).result.value)
                for s in (step, -step)
            ]
            slope = float(found.inputs[name].gradient.flatten()[entry])
            assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_each_use_of_a_value_has_its_own_gradient() -> None:
    found = explained("x*x + 5*x", "x=3")
    assert [float(edge.gradient) for edge in found.uses(0)] == [3, 3, 5]
    assert float(found.inputs["x"].gradient) == 11


@pytest.mark.parametrize("name", EXAMPLES)
def test_gates_stand_apart_and_edges_lead_to_the_right(name: str) -> None:
    layout = lay_out(example(name))
    for column in {place[0] for place in layout.places}:
        rows = sorted(row for at, row in layout.places if at == column)
        assert all(after - before > 0.99 for before, after in pairwise(rows))
    for route in layout.routes.values():
        assert [at for at, _ in route] == list(range(int(route[0][0]), int(route[-1][0]) + 1))


def test_long_edges_go_round_the_gates_between() -> None:
    layout = lay_out(explained("exp(x) + x", "x=1"))
    (bent,) = [route for route in layout.routes.values() if len(route) == 3]
    assert all(abs(bent[1][1] - row) > 0.99 for at, row in layout.places if at == bent[1][0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x+", "x=1"], "expression: column 3: can't be read"),
        (["(x", "x=1"], "expression: column 1: can't be read"),
        (["x + q", "x=1"], "expression: column 5: no value for q: add q=..."),
        (["x", "x=1", "why=2"], "why: not in the expression x: its names are x"),
        (["x/(y-y)", "x=1", "y=2"], "expression: column 2: division by zero, in x / (y - y)"),
        (["(é) / (y)", "é=1", "y=0"], "expression: column 5: division by zero"),
        (["x**-1", "x=0"], "expression: column 2: division by zero"),
        (["x+1/0", "x=0"], "expression: column 4: division by zero"),
        (["2*exp(x)", "x=1000"], "expression: column 3: exp(x) is inf, not a finite number"),
        (["log(x)", "x=-1"], "column 1: log(x) is nan, not a finite number: log is defined for"),
        (["sqrt(x)", "x=0"], "column 1: sqrt(x) has no finite slope in x there"),
        (["sigmod(x)", "x=0"], "column 1: unknown function sigmod: did you mean sigmoid?"),
        (["max(x)", "x=0"], "column 1: max takes 2 arguments, got 1"),
        (["x^2", "x=3"], "column 2: ^ is no operator here: a power is written **"),
        (["x*2", "x=[1, 2]"], "column 2: the result has the shape [2]"),
        (["dot(x, x)", "x=[[1, 2]]"], "the shapes [1, 2] and [1, 2] don't go together"),
        (["2+3"], "there is nothing to differentiate by"),
        (["__import__('os').system('true')"], "column 1: __import__('os').system('true')"),
        (["x.real", "x=1"], "column 1: x.real: only numbers, names"),
        (["[y for y in y]", "y=1"], "column 1: [y for y in y]: only numbers, names"),
        (["0" + "-" * 3900 + "x", "x=1"], "expression: "),
        (["(" * 300 + "x" + ")" * 300, "x=1"], "too many nested parentheses"),
        (["x" + "+x" * 1900, "x=1"], "expression: "),
        (["x" * 5000, "x=1"], "expression: 5000 characters, more than 4000"),
        (["x", "x=nan"], "x: column 1: not a value: write a number"),
        (["x", "x=1e999"], "x: column 1: the number is too large"),
        (["x", "x=[[1], [1, 2]]"], "x: column 1: the rows must all have the same length"),
        (["x", "x=[]"], "x: column 1: an empty list"),
        (["x", "x=1", "x=2"], "'x=2': x has a value already"),
        (["x", "3"], "'3': write name=value"),
        (["x", "x=1", "--output", "x.pdf"], "--output x.pdf: no kind of drawing"),
        (["x", "x=1", "--output", "a.svg/x.svg"], "--output a.svg/x.svg: can't be written"),
    ],
    ids=lambda value: value[0][:12] if isinstance(value, list) else "",
)
def test_mistakes_are_told_with_their_place(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.svg").write_text("")
    assert main(["explain", *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown.splitlines()[0]
    assert "Traceback" not in shown


def test_the_command_prints_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = [word for kind in ("svg", "png", "html") for word in ("--output", f"g.{kind}")]
    assert main(["explain", "sigmoid-neuron", *outputs]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^x1 +-2 +-0\.5898$", shown, re.M)
    root = ElementTree.parse("g.svg").getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter() if len(element) == 0]
    for figure in ("0.73", "-0.20", "0.39", "-0.39", "-0.59", "0.20", "1.37", "-0.53", "1/x"):
        assert figure in texts
    with Image.open("g.png") as picture:
        assert picture.size[0] > 500
    page = Path("g.html").read_text()
    steps = json.loads(re.search(r"const steps = (.*);", page)[1])  # type: ignore[index]
    named = [name for _, names in steps for name in names]
    assert len(named) == len(set(named)) == 2 * 13
    assert all(f'id="graph-{name}"' in page for name in named)


def test_an_examples_values_can_be_changed_and_the_page_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "gates", "z=2", "--step"]) == 0
    shown = capsys.readouterr().out
    assert "(x + y) * z -> x + y: 1 (upstream) * 2 (local) = 2" in shown
    assert shown.index("forward   (x + y) * z = 6") < shown.index("backward  x + y -> x")
    assert Path("explanation.html").exists()
