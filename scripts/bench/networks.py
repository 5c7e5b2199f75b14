"""The networks as one writes them by hand, in plain PyTorch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10
OUTPUT_GAIN = 0.1


def make_network(case: str) -> nn.Module:
    """The network of a case; drawn as nnrecipe's presets draw it, so that both start alike."""
    torch.manual_seed(0)
    network = NETWORKS[case]()
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layers[-1].weight.mul_(OUTPUT_GAIN)
    return network


def _lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, CLASSES),
    )


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 50), nn.ReLU(), nn.Linear(50, CLASSES))


class _Block(nn.Module):
    """Two convolutions and a shortcut, padded with zeros where the shape changes."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.stride, self.added = (1, 0) if before == channels else (2, channels - before)
        self.conv1 = nn.Conv2d(before, channels, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, before, H, W]."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            half = self.added // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.added - half))
        return F.relu(out + x)


def _resnet20() -> nn.Module:
    widths = [16] * 4 + [32] * 3 + [64] * 3
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(_Block(before, after) for before, after in pairwise(widths)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


def _resnet18() -> nn.Module:
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=CLASSES)
    return network


NETWORKS = {"lenet5": _lenet5, "mlp": _mlp, "resnet20": _resnet20, "resnet18": _resnet18}
