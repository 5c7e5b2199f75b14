"""Exported files give what the network gives: every architecture, norm and normalization."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors import safe_open
from torch import Tensor, nn

from nnrecipe.architectures import Architecture
from nnrecipe.cli import main
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data import Normalize, Preprocessing
from nnrecipe.export import command, program
from nnrecipe.export.program import examples, record, write_onnx
from nnrecipe.export.weights import write_safetensors
from nnrecipe.layers import Norm
from nnrecipe.recipe import Recipe, load_recipe
from nnrecipe.recipe.trained import Trained
from nnrecipe.training.ensembles import Ensemble

NETWORKS = {  # network, normalization of the data, norm
    "mlp": ("{kind: mlp, widths: [16], activation: maxout}", "zca", "layer"),
    "lenet5": ("lenet5", "{kind: center, per: pixel}", "none"),
    "vgg": ("{kind: vgg, depth: 11, width: 0.1}", "{kind: standardize, per: pixel}", "batch"),
    "resnet": ("{kind: resnet, depth: 8, width: 0.25}", "none", "group"),
    "resnet 2": (
        "{kind: resnet, depth: 8, width: 0.5}",
        "{kind: fixed, mean: [0.3], std: [0.2]}",
        "instance",
    ),
    "vit": (
        "{kind: vit, dim: 12, depth: 2, patch: 8}",
        "{kind: standardize, per: feature}",
        "layer",
    ),
}
LIBRARIES = ["{kind: alexnet, width: 0.1}", "torchvision:squeezenet1_1", "timm:resnet10t"]
CPU = torch.device("cpu")
AGREE = 1e-5
"""How far outputs may be apart."""
SIZES = (1, 3)


def load(folder: Path, architecture: str, data: str, norm: str = "") -> Recipe:
    path = folder / "net.yaml"
    path.write_text(f"data: {data}\narchitecture: {architecture}\n{norm and f'norm: {norm}'}\n")
    return load_recipe(path)


def untrained(
    folder: Path,
    architecture: str = "{kind: mlp, widths: [8]}",
    *,
    data: str = "{kind: digits, limit: 100}",
    norm: str = "",
) -> Trained:
    """A network that has seen data, so that its statistics are not the initial ones."""
    recipe = load(folder, architecture, data, norm)
    bundle = recipe.data.build(device=CPU, seed=0)
    torch.manual_seed(0)
    network = recipe.architecture.build(bundle.input_shape, bundle.outputs, hidden=recipe.hidden)
    with torch.no_grad():
        for batch in bundle.batches(bundle.train, 32):
            network.train()(batch.inputs)
    return Trained(
        network=network.eval(),
        preprocessing=bundle.preprocessing,
        recipe=recipe,
        task=bundle.outputs.task,
        heads=(),
        names=bundle.classes,
        input_shape=bundle.input_shape,
        float_range=bundle.float_range,
        path=folder / "best.pt",
        epoch=1,
        figures={},
    )


def plainly(trained: Trained, raw: Tensor) -> Tensor:
    """The outputs, step by step."""
    prepared = raw / trained.preprocessing.unit if raw.dtype == torch.uint8 else raw
    prepared = (prepared - trained.preprocessing.mean) / trained.preprocessing.std
    if trained.preprocessing.whitening.numel():
        rows = prepared.flatten(1) @ trained.preprocessing.whitening
        prepared = rows.view(prepared.shape)
    outputs = trained.network(prepared)
    if trained.task == "regression":
        return outputs
    shares = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    return shares if trained.task == "single_label" else 1 / (1 + (-outputs).exp())


@torch.no_grad()
def check(trained: Trained, folder: Path) -> None:
    """Both graphs agree with the network, for batches of any size."""
    check_recorded(trained)
    write_onnx(trained, folder / "net.onnx")
    session = InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    for size in SIZES:
        raw = examples(trained, size)
        (made,) = session.run(None, {"inputs": raw.numpy()})
        expected = plainly(trained, raw).numpy()
        np.testing.assert_allclose(made, expected, rtol=AGREE, atol=AGREE)


@torch.no_grad()
def check_recorded(trained: Trained) -> None:
    module = record(trained).module()
    for size in SIZES:
        raw = examples(trained, size)
        expected = plainly(trained, raw)
        torch.testing.assert_close(module(raw), expected, rtol=AGREE, atol=AGREE)


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_agree_with_the_network(name: str, tmp_path: Path) -> None:
    architecture, normalize, norm = NETWORKS[name]
    data = f"{{kind: digits, limit: 100, image_size: 32, normalize: {normalize}}}"
    check(untrained(tmp_path, architecture, data=data, norm=norm), tmp_path)


@pytest.mark.parametrize("architecture", LIBRARIES)
def test_graphs_of_other_networks_agree_with_them(architecture: str, tmp_path: Path) -> None:
    recipe = load(tmp_path, architecture, "{kind: cifar10, image_size: 64}")
    statistics = {"unit": torch.tensor(255.0), "mean": torch.rand(3, 1, 1)}
    trained = replace(
        untrained(tmp_path),
        network=recipe.architecture.build((3, 64, 64), OutputSpec(10), hidden=recipe.hidden).eval(),
        preprocessing=Preprocessing(**statistics, std=torch.full((3, 1, 1), 0.2)),
        input_shape=(3, 64, 64),
    )
    check_recorded(trained)


def test_nothing_that_the_data_and_the_layers_can_be_is_left_out() -> None:
    networks, normalizations, norms = zip(*NETWORKS.values(), strict=True)
    for family, found in ((Architecture, [*networks, *LIBRARIES]), (Normalize, normalizations)):
        for kind in {kind_of(member) for member in members(family)} - {"custom"}:
            assert any(kind in text for text in found), kind
    assert set(norms) == {kind_of(member) for member in members(Norm)}


@pytest.mark.parametrize("kind", ["traits", "ink"])
def test_graphs_give_what_the_task_asks_for(kind: str, tmp_path: Path) -> None:
    data = f"{{kind: digits, limit: 100, pixels: raw, predict: {kind}}}"
    trained = untrained(tmp_path, data=data)
    check(trained, tmp_path)
    name = "values" if kind == "ink" else "probabilities"
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [output.name for output in graph.output] == [name]
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [
        *("batch", 1, 8, 8)
    ]


def test_a_graph_of_floats_takes_them_as_they_are(tmp_path: Path) -> None:
    trained = untrained(tmp_path)
    floats = replace(trained, float_range=(-2.0, 3.0))
    raw = examples(floats, 3)
    assert raw.dtype == torch.float32
    assert -2 <= raw.min() < -1.9 < 2.9 < raw.max() <= 3
    check_recorded(floats)


class Awkward(nn.Module):
    """Its code can't be recorded, or means another thing for other batches."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code, self.fc = code, nn.Linear(1024, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        match self.code:
            case "len":
                rows = rows + torch.zeros(len(x), 1)
            case "if":
                rows = rows if float(rows.sum()) > 0 else -rows
        return self.fc(rows)  # type: ignore[no-any-return]


@pytest.mark.parametrize("code", ["len", "if"])
def test_code_that_is_no_graph_is_told(code: str, tmp_path: Path) -> None:
    trained = replace(untrained(tmp_path), network=Awkward(code))
    with pytest.raises(UserError, match=r"can't be recorded as a graph: .*--format safetensors"):
        record(trained)


CONFIG = """
data: {kind: digits, limit: 300}
architecture: {kind: mlp, widths: [16]}
optimizer: {kind: adam, lr: 1e-2}
training: {epochs: 1, batch_size: 32, compile: off, threads: 1}
stages: [train, ensemble]
ensemble: {kind: members, size: 2}
tracking: none
name: small
"""


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two members, beside its config."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "small.yaml").write_text(CONFIG)
    assert main(["run", str(folder / "small.yaml"), "--output", str(folder / "out")]) == 0
    return folder / "out"


def ensemble_outputs(run: Path, raw: Tensor) -> Tensor:
    """The mean of the members' probabilities, from the file's tensors alone."""
    saved = torch.load(run / "checkpoints" / "ensemble.pt", weights_only=True)
    prepared = (raw / 255 - saved["preprocessing"]["mean"]) / saved["preprocessing"]["std"]
    return torch.stack([rows(prepared, member) for member in saved["members"]]).mean(0)


def rows(prepared: Tensor, state: dict[str, Tensor]) -> Tensor:
    hidden = (prepared.flatten(1) @ state["fc1.weight"].T + state["fc1.bias"]).relu()
    return (hidden @ state["fc2.weight"].T + state["fc2.bias"]).softmax(1)


@pytest.mark.parametrize("form", ["torch", "onnx", "safetensors"])
def test_an_ensemble_from_the_command_line(
    form: str, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = {"torch": "pt2", "onnx": "onnx", "safetensors": "safetensors"}[form]
    path = tmp_path / f"new/net.{suffix}"
    assert main(["export", str(trained_run), "--format", form, "--output", str(path)]) == 0
    told = capsys.readouterr()
    assert f"exported  {path}" in told.out
    assert "ensemble.pt" in told.err
    raw = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    made, card = use(path, raw)
    expected = ensemble_outputs(trained_run, raw)
    np.testing.assert_allclose(made, expected.numpy(), rtol=AGREE, atol=AGREE)
    assert card["classes"] == [str(digit) for digit in range(10)]
    assert card["input"]["dtype"] == "uint8"
    assert card["task"] == "single_label"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    if form != "safetensors":
        assert "inputs [batch, 1, 8, 8] uint8, L" in told.out


def use(path: Path, raw: Tensor) -> tuple[Any, dict[str, Any]]:
    """What the file gives for raw images, and its card, without nnrecipe."""
    if path.suffix == ".pt2":
        extra = {"nnrecipe.json": ""}
        module = torch.export.load(path, extra_files=extra).module()
        return module(raw).detach().numpy(), json.loads(extra["nnrecipe.json"])
    if path.suffix == ".onnx":
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        (made,) = session.run(None, {"inputs": raw.numpy()})
        return made, json.loads(session.get_modelmeta().custom_metadata_map["nnrecipe.json"])
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["nnrecipe.json"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert card["preprocessing"] == "(x / unit - mean) / std"
    assert card["architecture"]["widths"] == [16]
    given = {name: found[f"preprocessing.{name}"] for name in ("unit", "mean", "std")}
    prepared = (raw / given["unit"] - given["mean"]) / given["std"]
    shares = [
        rows(prepared, {key: found[f"network.members.{number}.{key}"] for key in KEYS})
        for number in range(2)
    ]
    return torch.stack(shares).mean(0).numpy(), card


KEYS = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")


def test_a_graph_is_used_without_nnrecipe(trained_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    words = ["--format", "torch", "--checkpoint", "best", "--output", str(path)]
    assert main(["export", str(trained_run), *words]) == 0
    code = (
        "import sys, torch\n"
        f"module = torch.export.load({str(path)!r}).module()\n"
        "made = module(torch.zeros(4, 1, 8, 8, dtype=torch.uint8))\n"
        "assert made.shape == (4, 10) and torch.allclose(made.sum(1), torch.ones(4))\n"
        "assert not [name for name in sys.modules if name.startswith('nnrecipe')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_file_lies_in_the_run_by_default(trained_run: Path) -> None:
    assert main(["export", str(trained_run), "--format", "safetensors"]) == 0
    assert (trained_run / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("words", "hidden", "message"),
    [
        (["--format", "onnx"], "onnxscript", 'pip install "nnrecipe[onnx]"'),
        (["--format", "safetensors"], "safetensors.torch", 'pip install "nnrecipe[safetensors]"'),
        (["--format", "torch", "--output", "net.bin"], "", "--output net.bin: end it in .pt2"),
        (["--format", "torch", "--output", "/dev/null/net.pt2"], "", "can't be written"),
        (["--format", "tensorflow"], "", "'tensorflow' is not one of"),
        ([], "", "Missing option '--format'"),
    ],
)
def test_what_cannot_be_exported_is_told(
    words: list[str],
    hidden: str,
    message: str,
    trained_run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hidden:
        monkeypatch.setitem(sys.modules, hidden, None)
    assert main(["export", str(trained_run), *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_file_that_differs_from_the_network_is_not_kept(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "write_torch", lambda *_: 0.1)
    path = tmp_path / "net.pt2"
    path.write_text("the old one")
    assert main(["export", str(trained_run), "--format", "torch", "--output", str(path)]) == 2
    assert path.read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_more_weights_than_an_onnx_file_holds_are_refused(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "MOST_BYTES", 1000)
    assert main(["export", str(trained_run), "--format", "onnx"]) == 2
    assert "use --format torch or safetensors" in capsys.readouterr().err


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    trained = untrained(tmp_path)
    layer = nn.Linear(4, 4)
    tied = replace(trained, network=Ensemble([layer, layer], task="regression", average="logits"))
    write_safetensors(tied, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        names = [f"network.members.{number}.weight" for number in range(2)]
        assert torch.equal(*(file.get_tensor(name) for name in names))
