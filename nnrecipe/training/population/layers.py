"""Layers as a stack of replicas computes them.

A stack calls one model, its template, under `torch.vmap`, which gives every layer the parameters of
all replicas at once. `adapt` puts into the template what vmap would do worse, or not at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

RATE = "rate"
"""The buffer of `OwnDropout`; in a stack [K]."""


def adapt(template: nn.Module, *, own_rates: bool) -> None:
    """Change the template's linear layers, and its dropout if each replica has its own rate.

    Layers of a derived class stay as they are: vmap takes them as it takes any module.
    """
    for module in list(template.modules()):
        if type(module) is nn.Linear:
            module.__class__ = StackedLinear
        elif own_rates and type(module) is nn.Dropout:
            module.__class__ = OwnDropout
            module.register_buffer(RATE, torch.tensor(module.p))


class StackedLinear(nn.Linear):
    """A linear layer whose weights are those of K replicas under `torch.vmap`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, ..., in] -> [N, ..., out], in the eyes of each replica."""
        return _LinearOfStack.apply(x, self.weight, self.bias)  # type: ignore[no-any-return]


class OwnDropout(nn.Dropout):
    """Dropout whose probability is a buffer, so that each replica can have another."""

    rate: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. A unit stays where a uniform number is not below the rate."""
        if not self.training:
            return x
        kept = torch.rand_like(x) >= self.rate
        scale = 1 / (1 - self.rate).clamp_min(1e-12)  # at a rate of 1 nothing is left to scale
        return torch.where(kept, x * scale.to(x.dtype), 0)


class _LinearOfStack(torch.autograd.Function):
    """x W^T + b for weights [K, out, in], as few large products.

    Where all replicas have the same x, that is one product with the matrix [K * out, in], which
    reads x once; else one of a batch of K. Autograd differentiates what `vmap` computes.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: only the stacked form is differentiated."""

    @staticmethod
    def vmap(
        info: Any,  # noqa: ARG004
        in_dims: tuple[int | None, int | None, int | None],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> tuple[Tensor, int]:
        """The result, and the dimension of the replicas in it."""
        assert in_dims[1] == 0, "parameters are stacked on the first dimension"
        replicas, out, features = weight.shape
        if in_dims[0] is None:
            wide = weight.reshape(replicas * out, features)
            shift = None if bias is None else bias.reshape(-1)
            y = nn.functional.linear(x, wide, shift)
            return y.unflatten(-1, (replicas, out)), y.ndim - 1
        x = x.movedim(in_dims[0], 0)
        rows = x.reshape(replicas, -1, features)
        turned = weight.transpose(1, 2)
        if bias is None:
            y = torch.bmm(rows, turned)
        else:
            y = torch.baddbmm(bias.unsqueeze(1), rows, turned)
        return y.view(*x.shape[:-1], out), 0
