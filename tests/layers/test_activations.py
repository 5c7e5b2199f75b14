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
    "maxout": lambda x: x.reshape(-1, 2).max(1),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
RECOMMENDED = {"sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / 1.01)}


@pytest.mark.parametrize("member", members(Activation), ids=kind_of)
def test_it_computes_its_formula(member):
    x = np.random.default_rng(0).permutation(np.linspace(-4, 4, 102))
    (values,) = member().build()(torch.from_numpy(x)[None])
    assert len(values) == len(x) // member().pieces
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


@pytest.mark.parametrize(
    ("shape", "dim", "out"),
    [
        ((2, 12), 1, (2, 4)),
        ((2, 12, 5, 3), 1, (2, 4, 5, 3)),
        ((2, 5, 12), -1, (2, 5, 4)),
    ],
)
def test_maxout_takes_the_largest_of_neighbouring_channels(shape, dim, out):
    x = torch.randn(shape)
    maxout = TypeAdapter(Activation).validate_python({"kind": "maxout", "pieces": 3})
    values = maxout.build(dim)(x)
    assert values.shape == out
    channels = [x.narrow(dim, 3 * c, 3).amax(dim) for c in range(4)]
    torch.testing.assert_close(values, torch.stack(channels, dim))


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxouts_gain_keeps_a_unit_signal(pieces):
    def integrand(z):
        return z**2 * pieces * ndtr(z) ** (pieces - 1) * math.exp(-z * z / 2)

    second_moment = quad(integrand, -12, 12)[0] / math.sqrt(2 * math.pi)
    maxout = TypeAdapter(Activation).validate_python({"kind": "maxout", "pieces": pieces})
    assert maxout.gain() ** 2 * second_moment == pytest.approx(1, rel=1e-6)


def test_two_pieces_need_no_gain():
    # the larger and the smaller of two have the second moments of both together, half each
    maxout = TypeAdapter(Activation).validate_python("maxout")
    assert maxout.gain() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("member", members(Activation), ids=kind_of)
def test_it_names_its_source(member):
    assert member.source
