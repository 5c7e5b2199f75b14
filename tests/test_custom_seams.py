"""A user's own Dataset, Module, loss and optimizer, run by import path through the CLI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = '''
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset


class Stripes(Dataset):
    """Two kinds of noisy stripes, made on the fly."""

    classes = ["horizontal", "vertical"]

    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(self.seed * 100_000 + index)
        label = index % 2
        image = torch.zeros(1, 8, 8)
        image[:, ::2] = 1.0
        image = image.transpose(1, 2) if label else image
        return image - 0.5 + 0.2 * torch.randn(1, 8, 8, generator=draw), label


def data(count=120):
    return Stripes(count, 1), Stripes(60, 2), Stripes(60, 3)


class Net(nn.Module):
    def __init__(self, inputs, num_classes, hidden=8):
        super().__init__()
        channels, height, width = inputs
        self.hidden = nn.Linear(channels * height * width, hidden)
        self.last = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.last(torch.tanh(self.hidden(x.flatten(1))))


class BrokenNet(Net):
    def forward(self, x):
        return self.last(x.flatten(1))


class Focal(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, targets):
        log_p = F.log_softmax(logits, 1).gather(1, targets[:, None]).squeeze(1)
        return -((1 - log_p.exp()) ** self.gamma * log_p).mean()


def plain_loss(logits, targets):
    return F.cross_entropy(logits, targets)


def signs(groups, lr, momentum=0.9):
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)
'''

CONFIG = """
data: {{kind: custom, target: "{module}:data", args: {{count: 100}}}}
architecture: {{kind: custom, target: "{module}:{net}", args: {{hidden: 6}}}}
loss: {loss}
optimizer: {{kind: custom, target: "{module}:signs", args: {{momentum: 0.8}}, lr: 0.1}}
training: {{epochs: 3, batch_size: 20}}
"""


def _nnrecipe(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / f"{module}.py").write_text(CODE)
    command = [sys.executable, "-m", "nnrecipe", *words]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)


def _config(folder: Path, module: str, *, net: str = "Net", loss: str | None = None) -> Path:
    loss = loss or f'{{kind: custom, target: "{module}:Focal", args: {{gamma: 1.5}}}}'
    path = folder / "mine.yaml"
    path.write_text(CONFIG.format(module=module, net=net, loss=loss))
    return path


@pytest.mark.parametrize("loss", [None, '{kind: custom, target: "stripes_b:plain_loss"}'])
def test_everything_of_ones_own(tmp_path: Path, loss: str | None) -> None:
    module = "stripes_b" if loss else "stripes_a"
    folder = tmp_path / "project"
    folder.mkdir()
    config = _config(folder, module, loss=loss)
    done = _nnrecipe(folder, module, "run", str(config), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"] != "fail"
    assert report["metrics"]["test_accuracy"] == 1.0
    facts = report["stages"][0]["facts"]
    assert facts["classes"] == ["horizontal", "vertical"]
    assert facts["examples"] == {"train": 100, "val": 60, "test": 60}
    assert f"{module}:Net" in done.stdout + done.stderr, "imported code is named"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("architecture.target=stripes_c:BrokenNet", "stripes_c.py:"),
        ("architecture.target=stripes_c:Nett", "no 'Nett'"),
        ("architecture.target=nowhere:Net", "no module 'nowhere'"),
        ("architecture.args.hiden=6", "hiden"),
        ("architecture.target=stripes_c:plain_loss", "architecture.target"),
        ("data.target=stripes_c:Net", "data.target"),
        ("loss.target=stripes_c:data", "loss.target"),
        ("norm=batch", "norm"),
    ],
)
def test_mistakes_in_ones_own_code_are_told_in_its_terms(
    change: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    config = _config(folder, "stripes_c")
    done = _nnrecipe(
        folder, "stripes_c", "run", str(config), change, "--output", str(tmp_path / "out")
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
