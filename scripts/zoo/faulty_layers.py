"""A user's networks whose layers are wrong: how they start, what is between them, how many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks import Lenet, Shape, perceptron, resnet, vgg

NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {"mlp": perceptron, "lenet": Lenet}


def _weights(
    network: nn.Module, fill: Callable[[Tensor], Any], bias: float | None = 0.0
) -> nn.Module:
    """Fill every weight of linear and convolutional layers, and every bias with a number."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fill(module.weight)
            if module.bias is not None and bias is not None:
                nn.init.constant_(module.bias, bias)
    return network


def started(
    inputs: Shape, num_classes: int, network: str = "mlp", how: str = "zeros", std: float = 1.0
) -> nn.Module:
    """A sound network whose initial weights are not: zeros, one constant, or N(0, std^2)."""
    made = NETWORKS[network](inputs, num_classes)
    fills: dict[str, Callable[[Tensor], Any]] = {
        "zeros": nn.init.zeros_,
        "constant": lambda weight: nn.init.constant_(weight, 0.01),
        "normal": lambda weight: nn.init.normal_(weight, std=std),
    }
    return _weights(made, fills[how])


def deep_sigmoid(inputs: Shape, num_classes: int, conv: bool = False, depth: int = 10) -> nn.Module:
    """Many sigmoid layers, one after the other."""
    layers: list[nn.Module] = []
    if conv:
        layers += [nn.Conv2d(inputs[0], 8, 3, stride=2, padding=1), nn.Sigmoid()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid()]
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, num_classes)
        )
    size = math.prod(inputs)
    for _ in range(depth):
        layers += [nn.Linear(size, 64), nn.Sigmoid()]
        size = 64
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(size, num_classes))


def ending_in(
    inputs: Shape, num_classes: int, network: str = "mlp", what: str = "softmax"
) -> nn.Module:
    """A last nonlinearity before the loss: softmax, sigmoid or ReLU."""
    made = NETWORKS[network](inputs, num_classes)
    ends = {"softmax": nn.Softmax(dim=1), "sigmoid": nn.Sigmoid(), "relu": nn.ReLU()}
    return nn.Sequential(made, ends[what])


class Probabilities(nn.Module):
    """A residual network that gives probabilities."""

    def __init__(self, inputs: Shape, num_classes: int) -> None:
        super().__init__()
        self.body = resnet(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images to probabilities."""
        return F.softmax(self.body(x), dim=-1)


def linear_layers(inputs: Shape, num_classes: int, conv: bool = False) -> nn.Module:
    """Layers with nothing between them."""
    if conv:
        return nn.Sequential(
            nn.Conv2d(inputs[0], 8, 5, padding=2),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 64),
            nn.Linear(64, num_classes),
        )
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(inputs), 128),
        nn.Linear(128, 64),
        nn.Linear(64, num_classes),
    )


def negative_bias(
    inputs: Shape, num_classes: int, conv: bool = False, bias: float = -10.0
) -> nn.Module:
    """Biases before the ReLUs that keep them shut."""
    made = Lenet(inputs, num_classes) if conv else perceptron(inputs, num_classes)
    layers = [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers[:-1]:
        if layer.bias is not None:
            nn.init.constant_(layer.bias, bias)
    return made


def narrow(inputs: Shape, num_classes: int, conv: bool = False) -> nn.Module:
    """One unit in the middle, through which all must go."""
    if conv:
        body = Lenet(inputs, num_classes)
        return nn.Sequential(
            body.features, nn.Conv2d(16, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, num_classes),
        )  # fmt: skip
    return perceptron(inputs, num_classes, widths=(128, 1, 64))


def very_deep(inputs: Shape, num_classes: int, conv: bool = True, depth: int = 40) -> nn.Module:
    """Far more layers than a plain network can train."""
    if not conv:
        return perceptron(inputs, num_classes, widths=(64,) * depth)
    layers: list[nn.Module] = [nn.Conv2d(inputs[0], 8, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, num_classes)
    )


def frozen(inputs: Shape, num_classes: int, conv: bool = False) -> nn.Module:
    """Hidden layers without gradients, left over from an experiment."""
    made: nn.Module = (
        Lenet(inputs, num_classes) if conv else perceptron(inputs, num_classes, (32, 32))
    )
    layers = [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers[:-1]:
        layer.requires_grad_(False)
    return made


def stale_statistics(inputs: Shape, num_classes: int, conv: bool = True) -> nn.Module:
    """Running statistics that hardly move: torch's momentum taken for TensorFlow's."""
    made = vgg(inputs, num_classes) if conv else perceptron(inputs, num_classes, norm=True)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 1e-4
    return made


def wrong_size(
    inputs: Shape, num_classes: int, outputs: int = 1000, conv: bool = False
) -> nn.Module:
    """As many outputs as another data set has classes."""
    del num_classes
    return Lenet(inputs, outputs) if conv else perceptron(inputs, outputs)


def saturated(inputs: Shape, num_classes: int, conv: bool = False) -> nn.Module:
    """Tanh units that start at their ends."""
    if conv:
        made: nn.Module = nn.Sequential(
            nn.Conv2d(inputs[0], 8, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Linear(256, num_classes),
        )  # fmt: skip
    else:
        made = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(inputs), 128), nn.Tanh(),
            nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, num_classes),
        )  # fmt: skip
    layers = [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers[:-1]:
        nn.init.normal_(layer.weight, std=2.0)
    return made
