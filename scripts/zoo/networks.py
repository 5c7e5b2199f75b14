"""A user's networks, small and sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.pictures import images, standardized

Shape = tuple[int, ...]


def perceptron(
    inputs: Shape, num_classes: int, widths: Sequence[int] = (128, 64), norm: bool = False
) -> nn.Module:
    """Linear layers with ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(inputs)
    for width in widths:
        layers.append(nn.Linear(size, width))
        if norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        size = width
    return nn.Sequential(*layers, nn.Linear(size, num_classes))


class Lenet(nn.Module):
    """Two convolutions with pooling, two linear layers."""

    def __init__(self, inputs: Shape, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(inputs[0], 8, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Dropout(dropout))
        self.last = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] to logits [N, num_classes]."""
        logits: Tensor = self.last(self.head(self.features(x)))
        return logits


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def vgg(inputs: Shape, num_classes: int) -> nn.Module:
    """Four 3x3 convolutions with batch norm, the mean over the pixels, one linear layer."""
    return nn.Sequential(
        convolution(inputs[0], 8),
        nn.MaxPool2d(2),
        convolution(8, 16),
        convolution(16, 16),
        nn.MaxPool2d(2),
        convolution(16, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


class Block(nn.Module):
    """A residual block with batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(inputs, outputs, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shortcut plus branch, then ReLU."""
        return F.relu(self.shortcut(x) + self.branch(x))


def resnet(inputs: Shape, num_classes: int) -> nn.Module:
    """A stem, three residual blocks, the mean over the pixels, one linear layer."""
    return nn.Sequential(
        convolution(inputs[0], 8, stride=2),
        Block(8, 8),
        Block(8, 16, stride=2),
        Block(16, 32, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


def pretrained(inputs: Shape, num_classes: int, source: str = "fashion_mnist") -> nn.Module:
    """A Lenet whose features come from an earlier training on other examples."""
    network = Lenet(inputs, num_classes)
    network.features.load_state_dict(_features(source))
    return network


@lru_cache(maxsize=2)
def _features(source: str) -> dict[str, Tensor]:
    """The convolutions' weights after three epochs on a part of the data that no case uses."""
    (x, y), _ = images(source, part=9)
    x = standardized(x, source)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        network = Lenet(tuple(x.shape[1:]), 10)
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(3):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
    return network.features.state_dict()
