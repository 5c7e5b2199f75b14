import copy

import pytest
import torch
import torchvision
from pydantic import TypeAdapter
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.summary import blueprint, operations, render, size, summarize
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.hidden import Hidden
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
    assert render(summarize(model, (30,)), batch_size=64).splitlines() == [
        "Layer     Path  Output shape  Parameters   FLOPs  Memory",
        "--------------------------------------------------------",
        "Linear-1  0     [-1, 40]           1,240  2.40 K   160 B",
        "ReLU-2    1     [-1, 40]               0       0   160 B",
        "Linear-3  2     [-1, 2]               82     160     8 B",
        "--------------------------------------------------------",
        "Total parameters: 1,322",
        "Trainable parameters: 1,240",
        "FLOPs: 2.56 K for one example, forward (a multiply-add is two)",
        "Activations: 328 B for one example, 20.5 KiB for a batch of 64 (float32)",
        "Weights: 5.16 KiB (float32)",
    ]
    assert "Activations: 328 B for one example (float32)" in render(summarize(model, (30,)))


@pytest.mark.parametrize(
    ("model", "inputs", "flops"),
    [
        (nn.Linear(7, 5), (7,), 2 * 7 * 5),
        (nn.Linear(7, 5), (3, 7), 3 * 2 * 7 * 5),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), (4, 6, 5), 2 * (4 // 2 * 9) * 8 * 6 * 5),
        (nn.Conv2d(3, 8, 5, stride=2), (3, 11, 9), 2 * (3 * 25) * 8 * 4 * 3),
        (nn.ConvTranspose2d(4, 3, 2, stride=2), (4, 5, 5), 2 * (4 * 3 * 4) * 5 * 5),
        (nn.BatchNorm2d(3), (3, 8, 8), 0),
        (nn.GELU(), (3, 8, 8), 0),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_operations_by_hand(model, inputs, flops):
    assert [row.flops for row in summarize(model, inputs)] == [flops]


def attention_flops(tokens, dim):
    """Queries, keys and values; their products; the linear layer on top."""
    return 2 * tokens * dim * 3 * dim + 2 * 2 * tokens**2 * dim + 2 * tokens * dim * dim


class Attention(nn.Module):
    """Torch's own, which on a CPU fuses all of it into one call unless that is switched off."""

    def __init__(self, *, values):
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)
        self.values = values

    def forward(self, x):
        if self.values and x.sum().item() != x.sum().item():
            raise ValueError("not a number")
        return self.attend(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("values", [False, True], ids=["meta", "real"])
def test_attention_by_hand(values):
    fused = torch.backends.mha.get_fastpath_enabled()
    row, *_ = summarize(Attention(values=values), (9, 16))
    assert (row.name, row.flops) == ("MultiheadAttention-1", attention_flops(9, 16))
    assert torch.backends.mha.get_fastpath_enabled() == fused


class Wrapped(nn.Module):
    """A matrix product beside a child's."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6, bias=False)

    def forward(self, x):
        return self.fc(x) @ self.fc(x).T


def test_operations_count_where_they_are_done():
    rows = summarize(Wrapped(), (6,))
    assert [(row.name, row.flops) for row in rows] == [
        ("Linear-1", 72),
        ("Linear-2", 72),
        ("Wrapped-3", 2 * 6 * 2),  # a batch of two makes four products of two times six numbers
    ]


@pytest.mark.parametrize(
    ("name", "macs"),
    [("resnet18", 1.814), ("alexnet", 0.714), ("vit_b_16", 17.56), ("mobilenet_v2", 0.301)],
)
def test_the_operations_of_well_known_networks(name, macs):
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
    total = sum(row.flops for row in summarize(model, (3, 224, 224)))
    # the figures that torchvision publishes, in billions of multiply-adds
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert total / 2e9 == pytest.approx(published, abs=6e-4 if name != "vit_b_16" else 0.03)
    assert total / 2e9 == pytest.approx(macs, rel=2e-3)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224))
    assert total == counter.get_total_flops()


def test_memory_is_what_layers_put_out_anew():
    between = [nn.ReLU(), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout()]
    model = nn.Sequential(nn.Conv2d(1, 2, 3), *between, nn.Linear(18, 3))
    memory = [row.memory for row in summarize(model, (1, 5, 5))]
    assert memory == [4 * 18, 4 * 18, 0, 0, 0, 4 * 3]
    assert [row.memory for row in summarize(model.double(), (1, 5, 5))] == memory


def test_all_tensors_of_an_output_take_memory():
    (row,) = summarize(Sequence(), (7, 4))
    assert row.memory == 4 * (7 * 5 + 5 + 5)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 K"), (9_994, "9.99 K"), (9_996, "10.0 K"),
     (99_960, "100 K"), (999_600, "1.00 M"), (3_628_146_688, "3.63 G"), (4 * 10**15, "4.00 P")],
)  # fmt: skip
def test_operations_in_three_digits(count, text):
    assert operations(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (3 * 2**20 + 2**16, "3.06 MiB"),
     (2**40, "1.00 TiB")],
)  # fmt: skip
def test_bytes_in_three_digits(count, text):
    assert size(count) == text


def test_a_long_path_keeps_its_end():
    block = nn.Sequential(nn.Linear(4, 4))
    for number in range(12):
        block = nn.ModuleDict({f"a_long_name_{number}": block})

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = block

        def forward(self, x):
            inner = self.inner
            while isinstance(inner, nn.ModuleDict):
                (inner,) = inner.values()
            return inner(x)

    lines = render(summarize(Deep(), (4,))).splitlines()
    assert max(map(len, lines[:3])) == 120
    assert "Linear-1  ..." in lines[2]
    assert "a_long_name_0.0  [-1, 4]" in lines[2]


def test_a_blueprint_takes_no_memory():
    spec = TypeAdapter(Architecture).validate_python({"kind": "vgg", "depth": 19})
    hidden = Hidden(norm=BatchNorm())
    model = blueprint(spec, (3, 224, 224), OutputSpec(1000), hidden=hidden)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
