"""Layers one after the other; a ReLU and a max pooling in the order that costs less."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Chain(nn.Sequential):
    """An `nn.Sequential` in which a ReLU right before a max pooling is computed after it.

    ReLU never decreases: the largest of its values is its value of the largest input. Outputs and
    gradients are the same to the last bit, and with 2x2 pixels there are a quarter as many of them
    to rectify. What somebody watches, by a hook or a function mode, keeps its own order.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the modules give in turn."""
        for module in self._in_order():
            x = module(x)
        return x

    def _in_order(self) -> Iterator[nn.Module]:
        modules = list(self)
        if torch._C._is_torch_function_mode_enabled():
            return iter(modules)
        for place, (relu, pool) in enumerate(pairwise(self)):
            if type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d and not _watched(relu, pool):
                modules[place : place + 2] = pool, relu
        return iter(modules)


def _watched(*modules: nn.Module) -> bool:
    return any(vars(module)[hooks] for module in modules for hooks in HOOKS)
