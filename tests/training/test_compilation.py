from __future__ import annotations

import pytest
import torch
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.training import compilation
from nnrecipe.training.compilation import Compiled, compiled, pays

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "step", "steps", "expected"),
    [
        ("fp32", 3e10, 10_000, True),  # ResNet-20 for 25 epochs
        ("fp32", 3e10, 400, False),  # for one
        ("fp32", 3e8, 10**7, False),  # LeNet-5, however long
        ("bf16", 3e10, 10_000, False),
    ],
)
def test_a_cpu_compiles_large_steps_of_long_trainings(precision, step, steps, expected):
    assert pays(CPU, precision, step=step, steps=steps) is expected


def test_nothing_is_compiled_without_a_compiler(monkeypatch):
    monkeypatch.setattr(compilation, "has_compiler", lambda: False)
    assert not pays(CPU, "fp32", step=1e12, steps=10**6)
    with pytest.raises(UserError, match="on needs a C"):
        compiled(nn.Linear(2, 2), device=CPU, batch_size=4)


def test_only_full_batches_take_the_compiled_way():
    sizes = []

    def fast(inputs):
        sizes.append(len(inputs))
        return inputs

    model = Compiled(nn.Identity(), fast, batch_size=4)
    for size in (4, 4, 3):
        assert len(model(torch.zeros(size, 2))) == size
    assert sizes == [4, 4]


@pytest.mark.slow
@pytest.mark.skipif(not compilation.has_compiler(), reason="no C++ compiler here")
def test_a_compiled_model_gives_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    inputs = torch.randn(4, 6)
    plain = model(inputs)
    expected = torch.autograd.grad(plain.sum(), list(model.parameters()))
    made = compiled(model, device=CPU, batch_size=4)(inputs)
    torch.testing.assert_close(made, plain)
    torch.testing.assert_close(torch.autograd.grad(made.sum(), list(model.parameters())), expected)
