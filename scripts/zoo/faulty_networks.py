"""A user's networks that are wired wrongly: what goes forward, and what comes back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks import Lenet, Shape, perceptron, resnet


class Detached(nn.Module):
    """The gradient ends in the middle."""

    def __init__(self, inputs: Shape, num_classes: int, conv: bool = False) -> None:
        super().__init__()
        self.conv = conv
        if conv:
            body = Lenet(inputs, num_classes)
            self.first: nn.Module = nn.Sequential(body.features, body.head)
            self.second: nn.Module = body.last
        else:
            size = math.prod(inputs)
            self.first = nn.Sequential(
                nn.Flatten(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 32)
            )
            self.second = nn.Sequential(nn.ReLU(), nn.Linear(32, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        hidden = self.first(x)
        hidden = hidden.data if self.conv else hidden.detach()
        logits: Tensor = self.second(hidden)
        return logits


class Listed(nn.Module):
    """The hidden layers are in a Python list."""

    def __init__(self, inputs: Shape, num_classes: int, conv: bool = False) -> None:
        super().__init__()
        if conv:
            self.blocks: list[nn.Module] = [
                nn.Conv2d(inputs[0], 8, 5, padding=2),
                nn.Conv2d(8, 8, 3, padding=1),
                nn.AdaptiveMaxPool2d(2),
                nn.Flatten(),
            ]
            self.last = nn.Linear(32, num_classes)
        else:
            self.blocks = [nn.Flatten(), nn.Linear(math.prod(inputs), 32), nn.Linear(32, 32)]
            self.last = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        for block in self.blocks:
            x = torch.relu(block(x))
        logits: Tensor = self.last(x)
        return logits


class AlwaysDropping(nn.Module):
    """Dropout that doesn't know about evaluation."""

    def __init__(self, inputs: Shape, num_classes: int, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate
        self.first = nn.Linear(math.prod(inputs), 128)
        self.second = nn.Linear(128, 64)
        self.last = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        x = F.dropout(torch.relu(self.first(x.flatten(1))), self.rate)
        x = F.dropout(torch.relu(self.second(x)), self.rate)
        logits: Tensor = self.last(x)
        return logits


class StuckInTraining(Lenet):
    """A network whose `train` ignores what it is told."""

    def train(self, mode: bool = True) -> StuckInTraining:  # noqa: ARG002
        """Stay in training mode."""
        super().train(True)
        return self


class Amplified(nn.Module):
    """Residual branches three times as strong, and no norm to hold them."""

    def __init__(
        self, inputs: Shape, num_classes: int, conv: bool = False, factor: float = 3.0
    ) -> None:
        super().__init__()
        self.factor = factor
        if conv:
            self.stem: nn.Module = nn.Conv2d(inputs[0], 16, 3, stride=2, padding=1)
            branches = [
                nn.Sequential(
                    nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
                )
                for _ in range(8)
            ]
            self.head = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes)
            )
        else:
            self.stem = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs), 64))
            branches = [
                nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(10)
            ]
            self.head = nn.Sequential(nn.Linear(64, num_classes))
        self.branches = nn.ModuleList(branches)
        for branch in branches:
            for layer in (branch[0], branch[2]):
                assert isinstance(layer, nn.Conv2d | nn.Linear)
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        x = self.stem(x)
        for branch in self.branches:
            x = x + self.factor * branch(x)
        logits: Tensor = self.head(x)
        return logits


class _MaskedTheWrongWay(torch.autograd.Function):
    """A ReLU whose backward lets through what it should stop."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        passed: Tensor = gradients[0] * (x <= 0)
        return passed


class _ForgottenSign(torch.autograd.Function):
    """x -> -x with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return -x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return gradients[0]


class OwnBackward(nn.Module):
    """A hand-written operation whose backward is wrong."""

    def __init__(self, inputs: Shape, num_classes: int, conv: bool = False) -> None:
        super().__init__()
        self.conv = conv
        if conv:
            body = Lenet(inputs, num_classes)
            self.first: nn.Module = body.features
            self.second: nn.Module = nn.Sequential(body.head, body.last)
        else:
            self.first = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs), 128))
            self.second = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        operation = _ForgottenSign if self.conv else _MaskedTheWrongWay
        hidden: Tensor = operation.apply(self.first(x))
        logits: Tensor = self.second(hidden)
        return logits


class Mixing(nn.Module):
    """A reshape that takes the batch for a dimension of the picture."""

    def __init__(self, inputs: Shape, num_classes: int, conv: bool = False) -> None:
        super().__init__()
        self.conv = conv
        body = Lenet(inputs, num_classes)
        size = math.prod(inputs)
        self.features = (
            body.features if conv else nn.Sequential(nn.Flatten(), nn.Linear(size, 64), nn.ReLU())
        )
        self.last = nn.Linear(256 if conv else 64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        hidden = self.features(x)
        hidden = hidden.permute(1, 0, 2, 3) if self.conv else hidden.t()
        logits: Tensor = self.last(hidden.reshape(len(x), -1))
        return logits


class Blind(nn.Module):
    """The input is multiplied away."""

    def __init__(self, inputs: Shape, num_classes: int, conv: bool = False) -> None:
        super().__init__()
        self.body = resnet(inputs, num_classes) if conv else perceptron(inputs, num_classes)
        self.mask = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        logits: Tensor = self.body(x * self.mask)
        return logits


class RootOfZero(nn.Module):
    """Contrast by the standard deviation of blocks: its gradient in a flat one is 0 / 0."""

    def __init__(self, inputs: Shape, num_classes: int) -> None:
        super().__init__()
        self.filters = nn.Conv2d(inputs[0], 8, 3)
        self.block = 4
        places = math.prod((side - 2) // self.block for side in inputs[1:])
        self.last = nn.Linear(8 * places, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        x = self.filters(x)
        blocks = x.unfold(2, self.block, self.block).unfold(3, self.block, self.block)
        logits: Tensor = self.last(torch.sqrt(blocks.var((-2, -1))).flatten(1))
        return logits
