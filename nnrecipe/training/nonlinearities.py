"""The nonlinearities that a forward pass may call, as modules or as functions, by name."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.layers.activations import MaxPieces


class Shape(StrEnum):
    """What becomes of a nonlinearity's units: they fall silent, or reach an end of a range."""

    RECTIFIED = "rectified"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    OTHER = "other"


MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Softplus, nn.Hardswish, nn.Hardtanh, nn.Sigmoid, nn.Tanh, MaxPieces),
)
FUNCTIONS: dict[Callable[..., Any], str] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), "ReLU"),
    **dict.fromkeys((F.tanh, torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), "Tanh"),
    **dict.fromkeys(
        (F.sigmoid, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_), "Sigmoid"
    ),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), "LeakyReLU"),
    **dict.fromkeys((F.elu, F.elu_), "ELU"),
    **dict.fromkeys((F.celu, torch.celu, torch.celu_), "CELU"),
    **dict.fromkeys((F.selu, torch.selu, torch.selu_), "SELU"),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), "Hardtanh"),
    **dict.fromkeys((torch.prelu, Tensor.prelu), "PReLU"),
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.relu6: "ReLU6",
    F.mish: "Mish",
    F.softplus: "Softplus",
    F.hardswish: "Hardswish",
}
"""Functions, most of which modules call too, and the name of the module."""
SHAPES = {
    "ReLU": Shape.RECTIFIED,
    "ReLU6": Shape.RECTIFIED,
    "Tanh": Shape.TANH,
    "Sigmoid": Shape.SIGMOID,
}


def shape_of(name: str) -> Shape:
    """What becomes of the units of the nonlinearity of this name."""
    return SHAPES.get(name, Shape.OTHER)
