import copy

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint, render, summarize
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.norms import BatchNorm


class Awkward(nn.Module):
    """Needs values in forward, so the meta device won't do; changes a buffer and draws numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(1))
        self.shared = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 2).requires_grad_(False)
        self.unused = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        self.calls += 1
        x = self.shared(torch.relu(self.shared(x)))
        if x.sum().item() > torch.rand(()).item():
            x = x * self.scale
        return {"logits": self.frozen(x)}


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


def test_a_model_that_needs_values_is_run_for_real_and_left_as_it_was():
    model = Awkward().train()
    model.shared.eval()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    rows = summarize(model, (4,))
    assert [(row.path, row.output_shape, row.parameters, row.trainable) for row in rows] == [
        ("shared", (-1, 4), 20, 20),
        ("shared", (-1, 4), 0, 0),
        ("frozen", (-1, 2), 10, 0),
        ("", (-1, 2), 1, 1),
        ("unused", (), 9, 9),
    ]
    assert (model.training, model.shared.training, model.frozen.training) == (True, False, True)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_real_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).double()
    before = copy.deepcopy(model.state_dict())
    assert summarize(model, (1, 5, 5))[-1].output_shape == (-1, 18)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model.training


def test_the_first_tensor_of_an_output_gives_the_shape():
    (row,) = summarize(Sequence(), (7, 4))
    assert (row.name, row.output_shape) == ("LSTM-1", (-1, 7, 5))


def test_an_error_in_the_users_forward_comes_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        summarize(nn.Linear(3, 4), (5,))


def test_the_table_has_a_line_for_each_row_and_the_totals():
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 2).requires_grad_(False))
    assert render(summarize(model, (30,))).splitlines() == [
        "Layer     Path  Output shape  Parameters",
        "----------------------------------------",
        "Linear-1  0     [-1, 40]           1,240",
        "ReLU-2    1     [-1, 40]               0",
        "Linear-3  2     [-1, 2]               82",
        "----------------------------------------",
        "Total parameters: 1,322",
        "Trainable parameters: 1,240",
    ]


def test_a_blueprint_takes_no_memory():
    spec = TypeAdapter(Architecture).validate_python({"kind": "vgg", "depth": 19})
    model = blueprint(spec, (3, 224, 224), OutputSpec(1000), norm=BatchNorm())
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
