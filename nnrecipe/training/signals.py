"""How large signals are on their way through an untrained network, and gradients on theirs back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from nnrecipe.core.table import aligned
from nnrecipe.training.nonlinearities import FUNCTIONS, MODULES, Shape, shape_of

BINS = 30
SATURATED = 0.97
"""Share of its range from which a bounded unit counts as saturated."""
ENDS = {Shape.TANH: (-1.0, 1.0), Shape.SIGMOID: (0.0, 1.0)}
"""Of the range of a bounded nonlinearity."""


@dataclass(frozen=True)
class Given:
    """What a layer is given: all that the layers before it have to tell.

    `size` is its root mean square, `variation` that of its deviation over the examples, and
    `gradient` the norm of the loss's derivative by one example's.
    """

    size: float
    variation: float
    gradient: float


@dataclass(frozen=True)
class Signal:
    """What leaves one layer: a linear or convolutional one together with its nonlinearity.

    `mean` and `std` are taken over examples, units and pixels. `saturated` is the share of the
    values at the ends of a bounded nonlinearity's range; of a ReLU it is the share of units that
    are zero for every example. `gradient` is the root mean square of the loss's derivative by these
    values; where backpropagation never reached them (a frozen part), it is 0 and `reached` false.
    `gradient_norm` is the norm of that derivative by one example's values. `given` is what the
    layer was given.
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
    gradient_norm: float
    given: Given

    @property
    def nonlinearity(self) -> str:
        """The name of the last module: that of the nonlinearity, if there is one."""
        return self.layer.rpartition(", ")[2]


@dataclass
class _Trace:
    """One layer's values `[N, ...]`, units in dimension `unit`, and the gradients of them."""

    path: str
    names: list[str]
    unit: int
    inputs: Tensor
    output: Tensor
    values: Tensor
    gradients: list[Tensor] = field(default_factory=list)
    returned: list[Tensor] = field(default_factory=list)

    def follow(self, name: str, output: Tensor) -> None:
        """Take in the nonlinearity behind the layer; its module and its function are one.

        One that works in place gives the layer's own tensor.
        """
        if output is self.output and len(self.names) > 1:
            self.names[-1] = name
            return
        self.names.append(name)
        self.output, self.values = output, output.detach()
        self.listen()

    def listen(self) -> None:
        """Keep the gradient that comes back to the values."""
        if self.output.requires_grad:
            self.output.register_hook(partial(_keep, self, self.output.shape))


class _Functions(TorchFunctionMode):
    """Tells the last trace of nonlinearities that are called as functions."""

    def __init__(self, traces: list[_Trace]) -> None:
        super().__init__()
        self.traces = traces

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and look at what it gives."""
        output = func(*args, **(kwargs or {}))
        if func in FUNCTIONS and self.traces:
            self.traces[-1].follow(FUNCTIONS[func], output)
        return output


def signals(model: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> list[Signal]:
    """The signals of every layer in the order of execution, for one loss that is backpropagated.

    The model is used in training mode, as the first step would use it, and keeps nothing but the
    gradients. A layer that is called twice counts twice.
    """
    traces: list[_Trace] = []
    paths = {module: path for path, module in model.named_modules()}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        name = type(module).__name__
        if isinstance(module, nn.Linear | _ConvNd):
            given = inputs[0] if inputs else output
            unit = -1 if isinstance(module, nn.Linear) else 1
            trace = _Trace(paths[module], [name], unit, given.detach(), output, output.detach())
            trace.listen()
            if given.requires_grad:
                given.register_hook(trace.returned.append)
            traces.append(trace)
        elif traces:  # the nonlinearity of the layer before it
            traces[-1].follow(name, output)

    watched = (nn.Linear, _ConvNd, *MODULES)
    hooks = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, watched)]
    try:
        with _Functions(traces):
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
    name = trace.names[-1]
    low, high = _range(name, finite)
    counts = torch.histc(finite, BINS, low, high) if len(finite) else torch.zeros(BINS)
    gradient = trace.gradients[0].float() if trace.gradients else torch.zeros(1)
    return Signal(
        path=trace.path,
        layer=", ".join(trace.names),
        mean=values.mean().item(),
        std=values.std(correction=0).item(),
        saturated=_saturated(name, values, unit=trace.unit),
        gradient=gradient.square().mean().sqrt().item(),
        reached=bool(trace.gradients),
        low=low,
        high=high,
        histogram=tuple((counts / max(len(finite), 1)).tolist()),
        gradient_norm=_norm(trace.gradients),
        given=Given(
            size=trace.inputs.float().square().mean().sqrt().item(),
            variation=trace.inputs.float().var(0, correction=0).mean().sqrt().item(),
            gradient=_norm(trace.returned),
        ),
    )


def _norm(gradients: Sequence[Tensor]) -> float:
    """The mean norm of one example's gradient; 0 where none came back."""
    if not gradients:
        return 0.0
    return float(gradients[0].detach().float().flatten(1).norm(dim=1).mean())


def _range(name: str, values: Tensor) -> tuple[float, float]:
    """The ends of a histogram: a bounded nonlinearity's own, else those of the values."""
    if shape_of(name) in ENDS:
        return ENDS[shape_of(name)]
    if not len(values):
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _saturated(name: str, values: Tensor, *, unit: int) -> float:
    shape = shape_of(name)
    if shape in ENDS:
        low, high = ENDS[shape]
        return saturated_values(values, low=low, high=high).item()
    return silent_units(values, unit=unit).item() if shape is Shape.RECTIFIED else 0.0


def silent_units(values: Tensor, *, unit: int = 1) -> Tensor:
    """The share of the units, which are in dimension `unit`, that never exceed zero: a scalar."""
    others = [place for place in range(values.ndim) if place != unit % values.ndim]
    return (values.amax(others) <= 0).float().mean()


def saturated_values(values: Tensor, *, low: float, high: float) -> Tensor:
    """The share of the values at either end of the range from `low` to `high`: a scalar."""
    middle, reach = (low + high) / 2, (high - low) / 2
    return ((values - middle).abs() > SATURATED * reach).float().mean()
