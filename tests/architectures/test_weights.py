"""`architecture.weights`: what is read, how its keys are matched, and what is refused."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torchvision import models

from nnrecipe.architectures import Architecture
from nnrecipe.architectures.weights import Weights
from nnrecipe.cli import main
from nnrecipe.core.errors import UserError


class Net(nn.Module):
    def __init__(self, classes: int = 3, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.pt"


def fitted(file: Path, network: nn.Module, *, classes: tuple[str, ...] = (), **given: Any) -> Any:
    return Weights(file=file, **given).fitted(network, classes=classes)


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("wrapping", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_a_state_dict_is_found_in_its_wrappings(file: Path, wrapping: str, prefix: str) -> None:
    trained, network = Net(seed=1), Net(seed=2)
    state = {prefix + key: value for key, value in trained.state_dict().items()}
    torch.save({wrapping: state, "epoch": 3} if wrapping else state, file)
    pretrained = fitted(file, network)
    pretrained.load_into(network)
    assert pretrained.replaced == ()
    assert states_equal(network, trained)


def test_keys_are_renamed_and_ignored_by_patterns(file: Path) -> None:
    trained, network = Net(seed=1), Net(seed=2)
    names = {"conv": "body.0", "bn": "body.1", "fc": "linear"}
    state = {}
    for key, value in trained.state_dict().items():
        layer, _, rest = key.partition(".")
        if rest != "num_batches_tracked":  # as files from before PyTorch 0.4.1
            state[f"module.{names[layer]}.{rest}"] = value
    torch.save(state | {"module.step": torch.zeros(1)}, file)
    rename = {r"^body\.0": "conv", r"^body\.1": "bn", r"^(lin)ear": r"fc"}
    fitted(file, network, rename=rename, ignore=["^step$"]).load_into(network)
    assert states_equal(network, trained)


@pytest.mark.parametrize(
    ("head", "classes", "outputs", "replaced"),
    [
        ("auto", ("a", "b", "c"), 3, False),
        ("auto", ("a", "b", "d"), 3, True),
        ("auto", (), 3, False),
        ("auto", (), 5, True),
        ("keep", ("x", "y", "z"), 3, False),
        ("replace", ("a", "b", "c"), 3, True),
    ],
)
def test_the_head_alone_is_replaced(
    file: Path, head: str, classes: tuple[str, ...], outputs: int, replaced: bool
) -> None:
    trained, network, untouched = Net(seed=1), Net(outputs, seed=2), Net(outputs, seed=2)
    torch.save({"model": trained.state_dict(), "classes": ["a", "b", "c"]}, file)
    pretrained = fitted(file, network, classes=classes, head=head)
    pretrained.load_into(network)
    assert states_equal(network.conv, trained.conv)
    assert states_equal(network.bn, trained.bn)
    assert pretrained.replaced == (("fc.bias", "fc.weight") if replaced else ())
    assert states_equal(network.fc, untouched.fc if replaced else trained.fc)


def test_all_that_does_not_fit_is_listed(file: Path) -> None:
    state = Net().state_dict()
    state["extra.weight"] = state.pop("bn.weight")
    state["conv.weight"] = torch.zeros(4, 2, 3, 3)
    torch.save(state, file)
    with pytest.raises(UserError) as caught:
        fitted(file, Net(5))
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0].startswith("architecture.weights: ")
    assert lines[1:] == [
        "missing: bn.weight [4]",
        "unexpected: extra.weight [4]",
        "of another shape: conv.weight [4, 2, 3, 3] in the file, [4, 1, 3, 3] in the network",
    ]
    with pytest.raises(UserError, match=r"of another shape: fc\.weight \[3, 4\] in the file, \[5"):
        fitted(file, Net(5), head="keep")


@pytest.mark.parametrize(
    ("held", "given", "message"),
    [
        (None, {}, "no file .*net.pt"),
        (b"\x80\x02nonsense", {}, "can be read safely"),
        (Net, {}, "can be read safely"),
        ([1], {}, "holds no state dict.*it has list"),
        ({"epoch": 1}, {}, "holds no state dict.*it has epoch"),
        ("state", {"rename": {"^linear": "fc"}}, r"\.rename: '\^linear' matches no key"),
        ("state", {"ignore": ["^linear"]}, r"\.ignore: '\^linear' matches no key"),
        ("state", {"rename": {"^conv": "fc"}}, r"\.rename: several keys become fc\."),
        ("state", {"rename": {"^conv": r"\9"}}, r"\.rename: .* can't stand for '\^conv'"),
        ("nan", {}, r"not finite: conv\.bias"),
    ],
)
def test_what_can_not_be_used_is_told(file: Path, held: Any, given: Any, message: str) -> None:
    state = Net().state_dict()
    if held == "nan":
        state["conv.bias"][1] = torch.nan
    if isinstance(held, bytes):
        file.write_bytes(held)
    elif held is Net:
        torch.save(Net(), file)  # a pickled object: its code isn't run
    elif held is not None:
        torch.save(state if isinstance(held, str) else held, file)
    with pytest.raises(UserError, match=rf"^architecture\.weights.*{message}"):
        fitted(file, Net(), **given)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "neither file nor name"),
        ({"file": "a.pt", "name": "DEFAULT"}, "both file and name"),
        ({"file": "a.pt", "ignore": ["("]}, "no regular expression"),
        ("DEFAULT", "alone is for models of torchvision"),
        ("ResNet18_Weights.NONE", "no weights 'ResNet18_Weights.NONE'"),
        ("Nets_Weights.DEFAULT", "no weights 'Nets_Weights.DEFAULT'"),
    ],
)
def test_a_section_that_can_not_be_right_is_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Architecture).validate_python({"kind": "resnet", "weights": weights})


def test_a_word_is_a_name_or_a_file() -> None:
    parse = TypeAdapter(Weights).validate_python
    assert parse("ResNet18_Weights.IMAGENET1K_V1").name == "ResNet18_Weights.IMAGENET1K_V1"
    assert parse("DEFAULT").name == "DEFAULT"
    for file in ("net.pt", "runs/best.pt", "./DEFAULT", "net"):
        assert parse(file).file == Path(file)
    with pytest.raises(ValidationError, match="there are IMAGENET1K_V1, DEFAULT"):
        TypeAdapter(Architecture).validate_python(
            {"kind": "torchvision:alexnet", "weights": "IMAGENET1K_V9"}
        )


def test_torchvisions_weights_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(1)
    trained = models.squeezenet1_1()
    torch.save(trained.state_dict(), tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    network = models.squeezenet1_1(num_classes=7)
    pretrained = Weights(name="DEFAULT").fitted(network, model="squeezenet1_1")
    pretrained.load_into(network)
    assert pretrained.replaced == ("classifier.1.bias", "classifier.1.weight")
    assert states_equal(network.features, trained.features)


CONFIG = """
data: {kind: image_folder, root: images}
architecture: {kind: torchvision:squeezenet1_1, weights: DEFAULT}
stages: [data]
"""


def test_weights_that_are_not_there_say_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "small.yaml").write_text(CONFIG)
    with pytest.raises(UserError, match=r"not in the cache .*no network.*: put \S+ at \S+b8a52dc0"):
        Weights(name="DEFAULT").fitted(models.squeezenet1_1(), model="squeezenet1_1")
    assert main(["run", str(tmp_path / "small.yaml"), "architecture.weights=NONE"]) == 2
    assert "squeezenet1_1 has no weights 'NONE'" in capsys.readouterr().err


def test_torchvisions_weights_bring_their_preprocessing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    assert main(["run", str(config), "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert "image_size: 224" in shown
    assert "kind: fixed" in shown
    assert main(["run", str(config), "data.image_size=64", "data.normalize=center"]) == 2
    assert main(["run", str(config), "--print-config", "data.image_size=64"]) == 0
    assert "image_size: 64" in capsys.readouterr().out
