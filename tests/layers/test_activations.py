import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.integrate import quad
from scipy.special import ndtr

from nnrecipe.core.spec import kind_of, members
from nnrecipe.layers import Activation

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
RECOMMENDED = {"sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / 1.01)}


@pytest.mark.parametrize("member", members(Activation), ids=kind_of)
def test_it_computes_its_formula(member):
    x = np.linspace(-4, 4, 101)
    values = member().build()(torch.from_numpy(x))
    np.testing.assert_allclose(values, FORMULAS[kind_of(member)](x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", RECOMMENDED)
def test_the_gain_is_the_recommended_one(kind):
    activation = TypeAdapter(Activation).validate_python(kind)
    assert activation.gain() == pytest.approx(RECOMMENDED[kind], rel=1e-12)


def passed_on(kind, variance):
    """E[(gain * f(z))^2] / variance for z ~ N(0, variance): what a layer does to a signal."""
    gain = TypeAdapter(Activation).validate_python(kind).gain()

    def integrand(z):
        signal = gain * FORMULAS[kind](z * math.sqrt(variance))
        return signal**2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return (quad(integrand, -12, 0)[0] + quad(integrand, 0, 12)[0]) / variance


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu"])
def test_the_gain_keeps_a_unit_signal(kind):
    assert passed_on(kind, 1.0) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("kind", ["gelu", "silu"])
def test_the_gain_keeps_large_signals_and_lets_none_grow(kind):
    variances = [0.01, 0.1, 1.0, 10.0, 100.0]
    assert max(passed_on(kind, variance) for variance in variances) <= 1
    assert passed_on(kind, 1e3) == pytest.approx(1, abs=0.02)


def test_parameters_reach_the_module_and_the_gain():
    build = TypeAdapter(Activation).validate_python
    x = torch.tensor([-1.0])
    leaky = build({"kind": "leaky_relu", "slope": 0.5})
    assert leaky.build()(x).item() == -0.5
    assert leaky.gain() == pytest.approx(math.sqrt(2 / 1.25))
    assert build({"kind": "elu", "alpha": 2.0}).build()(x).item() == pytest.approx(
        2 * math.expm1(-1)
    )
