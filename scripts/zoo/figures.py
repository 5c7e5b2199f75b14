"""Figures of a network on one batch: its weights, gradients and activations, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnrecipe.data.batch import Batch


@dataclass(frozen=True)
class Numbers:
    """What a rule may ask of a tensor; `middle` is from its 5th to its 95th percentile."""

    finite: bool
    mean: float
    mean_size: float
    largest: float
    variance: float
    norm: float
    zeros: float
    middle: float

    @classmethod
    def of(cls, tensor: Tensor) -> Numbers:
        """The figures of a tensor; those of one that isn't finite are of its finite entries."""
        flat = tensor.detach().float().flatten()
        finite = bool(torch.isfinite(flat).all())
        flat = flat[torch.isfinite(flat)] if not finite else flat
        flat = flat if len(flat) else torch.zeros(1)
        ordered = flat.sort().values
        low, high = (ordered[round(share * (len(flat) - 1))] for share in (0.05, 0.95))
        return cls(
            finite=finite,
            mean=float(flat.mean()),
            mean_size=float(flat.abs().mean()),
            largest=float(flat.abs().max()),
            variance=float(flat.var(unbiased=False)),
            norm=float(flat.norm()),
            zeros=float((flat == 0).float().mean()),
            middle=float(high - low),
        )


@dataclass(frozen=True)
class Activation:
    """A layer that has no weights, on the batch: what goes in, what comes out.

    `inputs_variance` and `beyond_5` (share of |x| >= 5) are of what goes in; `inactive` is the
    share of what comes out that is 0 or less; `dead` is the share of the units (features or
    channels) that are active in less than 1 % of their places; `pinned` is the share of the units
    of which all but 1 % lie where a tanh or a sigmoid has a gradient below 1e-7.
    """

    kind: type[nn.Module]
    inputs_variance: float
    beyond_5: float
    inactive: float
    dead: float
    pinned: float
    output_mean: float
    finite: bool


@dataclass(frozen=True)
class Snapshot:
    """Figures by parameter path (weights alone) and, for activations, by the module's."""

    weights: dict[str, Numbers]
    gradients: dict[str, Numbers]
    updates: dict[str, float]
    unchanged: dict[str, bool]
    activations: dict[str, Activation]
    layer_means: dict[str, float]


ENDS = {nn.Tanh: (-9.4999, 9.4999), nn.Sigmoid: (-23.0, 16.99999)}
"""Inputs beyond which the gradient is below 1e-7, as SageMaker Debugger has them."""

Loss = Callable[[Tensor, Tensor], Tensor]


def snapshot(model: nn.Module, loss: Loss, probe: Batch, before: dict[str, Tensor]) -> Snapshot:
    """Figures of the network in eval mode; `before` holds the weights of the step before."""
    weights = {path: p for path, p in model.named_parameters() if p.ndim > 1}
    model.eval()
    with torch.random.fork_rng(), _recorded(model) as (activations, means):
        value = loss(model(probe.inputs).float(), probe.targets)
    known = {path: p for path, p in weights.items() if path in before}
    return Snapshot(
        weights={path: Numbers.of(p) for path, p in weights.items()},
        gradients={path: Numbers.of(g) for path, g in _gradients(value, weights).items()},
        updates={path: _relative(p, before[path]) for path, p in known.items()},
        unchanged={
            path: torch.allclose(p.detach(), before[path], rtol=1e-5, atol=1e-8)
            for path, p in known.items()
        },
        activations=activations,
        layer_means=means,
    )


def _gradients(value: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The loss's gradient at each weight that is to be trained; zero where none arrives."""
    trained = {path: p for path, p in weights.items() if p.requires_grad}
    found: list[Tensor | None] = [None] * len(trained)
    if value.requires_grad and trained:
        found = list(torch.autograd.grad(value, list(trained.values()), allow_unused=True))
    return {
        path: torch.zeros_like(p) if gradient is None else gradient
        for (path, p), gradient in zip(trained.items(), found, strict=True)
    }


def _relative(after: Tensor, before: Tensor) -> float:
    return float((after.detach() - before).norm() / (before.norm() + 1e-9))


@contextmanager
def _recorded(model: nn.Module) -> Iterator[tuple[dict[str, Activation], dict[str, float]]]:
    """The activations inside the block, and the mean of every layer's output.

    Layers that come before any weights are left out: on a fixed batch they never change.
    """
    activations: dict[str, Activation] = {}
    means: dict[str, float] = {}
    hooks = []
    for name, module in model.named_modules():
        if list(module.children()):
            continue

        def keep(layer: nn.Module, given: Any, made: Any, name: str = name) -> None:
            if isinstance(made, Tensor) and given and isinstance(given[0], Tensor):
                if means or list(layer.parameters()):
                    means[name] = float(made.detach().float().mean())
                if isinstance(layer, nn.ReLU | nn.Tanh | nn.Sigmoid | nn.GELU):
                    activations[name] = _activation(layer, given[0].detach(), made.detach())

        hooks.append(module.register_forward_hook(keep))
    try:
        yield activations, means
    finally:
        for hook in hooks:
            hook.remove()


def _activation(layer: nn.Module, given: Tensor, made: Tensor) -> Activation:
    units = made.float().transpose(0, 1).flatten(1)  # [units, places]
    low, high = ENDS.get(type(layer), (-torch.inf, torch.inf))
    inside = ((given > low) & (given < high)).float().transpose(0, 1).flatten(1)
    return Activation(
        kind=type(layer),
        inputs_variance=float(given.float().var(unbiased=False)),
        beyond_5=float((given.abs() >= 5).float().mean()),
        inactive=float((made <= 0).float().mean()),
        dead=float(((units > 0).float().mean(1) < 0.01).float().mean()),
        pinned=float((inside.mean(1) < 0.01).float().mean()),
        output_mean=float(made.float().mean()),
        finite=bool(torch.isfinite(made).all()),
    )
