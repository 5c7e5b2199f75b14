"""How large signals are on their way through an untrained network, and gradients on theirs back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from nnrecipe.core.table import aligned
from nnrecipe.layers.activations import MaxPieces

NONLINEARITIES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Softplus, nn.Hardswish, nn.Hardtanh, nn.Sigmoid, nn.Tanh, MaxPieces),
)
BINS = 30
SATURATED = 0.97
"""Share of its range from which a bounded unit counts as saturated."""


@dataclass(frozen=True)
class Signal:
    """What leaves one layer: a linear or convolutional one together with its nonlinearity.

    `mean` and `std` are taken over examples, units and pixels. `saturated` is the share of the
    values at the ends of a bounded nonlinearity's range; of a ReLU it is the share of units that
    are zero for every example. `gradient` is the root mean square of the loss's derivative by these
    values; where backpropagation never reached them (a frozen part), it is 0 and `reached` false.
    `histogram` has the shares of the values in equal bins from `low` to `high`.
    """

    path: str
    layer: str
    mean: float
    std: float
    saturated: float
    gradient: float
    reached: bool
    low: float
    high: float
    histogram: tuple[float, ...]


@dataclass
class _Trace:
    """One layer's values `[N, ...]` and the gradients that come back to them."""

    path: str
    names: list[str]
    values: Tensor
    unit: nn.Module
    gradients: list[Tensor] = field(default_factory=list)


def signals(model: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> list[Signal]:
    """The signals of every layer in the order of execution, for one loss that is backpropagated.

    The model is used in training mode, as the first step would use it, and keeps nothing but the
    gradients. A layer that is called twice counts twice.
    """
    traces: list[_Trace] = []
    paths = {module: path for path, module in model.named_modules()}

    def watch(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(module, nn.Linear | _ConvNd):
            traces.append(_Trace(paths[module], [type(module).__name__], output.detach(), module))
        elif traces:  # the nonlinearity of the layer before it
            last = traces[-1]
            last.names.append(type(module).__name__)
            last.values, last.unit = output.detach(), module
        else:
            return
        if output.requires_grad:
            output.register_hook(partial(_keep, traces[-1], output.shape))

    watched = (nn.Linear, _ConvNd, *NONLINEARITIES)
    hooks = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, watched)]
    try:
        loss = loss_of(model.train())
    finally:
        for hook in hooks:
            hook.remove()
    if loss.requires_grad:
        loss.backward()
    return [_measure(trace) for trace in traces]


def render_signals(layers: Sequence[Signal]) -> str:
    """A table, a row for each layer."""
    head = ("layer", "of", "mean", "spread", "saturated", "gradient")
    body = [
        (
            layer.path,
            layer.layer,
            f"{layer.mean:.3g}",
            f"{layer.std:.3g}",
            f"{layer.saturated:.0%}",
            f"{layer.gradient:.3g}",
        )
        for layer in layers
    ]
    return "\n".join(aligned([head, *body], right=(2, 3, 4, 5)))


def _keep(trace: _Trace, shape: torch.Size, gradient: Tensor) -> None:
    """Keep the gradient by a layer's values, and not that by what precedes its nonlinearity."""
    if shape == trace.values.shape and not trace.gradients:
        trace.gradients.append(gradient.detach())


def _measure(trace: _Trace) -> Signal:
    values = trace.values.float()
    finite = values[torch.isfinite(values)]
    low, high = _range(trace.unit, finite)
    counts = torch.histc(finite, BINS, low, high) if len(finite) else torch.zeros(BINS)
    gradient = trace.gradients[0].float() if trace.gradients else torch.zeros(1)
    return Signal(
        path=trace.path,
        layer=", ".join(trace.names),
        mean=values.mean().item(),
        std=values.std(correction=0).item(),
        saturated=_saturated(trace.unit, values),
        gradient=gradient.square().mean().sqrt().item(),
        reached=bool(trace.gradients),
        low=low,
        high=high,
        histogram=tuple((counts / max(len(finite), 1)).tolist()),
    )


def _range(unit: nn.Module, values: Tensor) -> tuple[float, float]:
    """The ends of a histogram: a bounded nonlinearity's own, else those of the values."""
    if isinstance(unit, nn.Tanh):
        return -1.0, 1.0
    if isinstance(unit, nn.Sigmoid):
        return 0.0, 1.0
    if not len(values):
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _saturated(unit: nn.Module, values: Tensor) -> float:
    if isinstance(unit, nn.Tanh):
        return (values.abs() > SATURATED).float().mean().item()
    if isinstance(unit, nn.Sigmoid):
        return ((2 * values - 1).abs() > SATURATED).float().mean().item()
    if isinstance(unit, nn.ReLU):
        units = values.flatten(2).amax(2) if values.ndim > 2 else values
        return (units.amax(0) <= 0).float().mean().item()
    return 0.0
