"""What the layers put out in one forward pass of a training: how large it is, how much is stuck."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from nnrecipe.training.nonlinearities import FUNCTIONS, Shape, shape_of
from nnrecipe.training.signals import ENDS, saturated_values, silent_units


@dataclass
class _Layer:
    """A layer's values `[N, ...]`, after the nonlinearity that follows it, if one does."""

    path: str
    values: Tensor
    unit: int
    shape: Shape = Shape.OTHER


@dataclass(eq=False)
class Activity(TorchFunctionMode):
    """Measures of the layers by path, in the order of execution; scalars on the device.

    `rms` is the root mean square of a linear or convolutional layer's values after its
    nonlinearity, `silent` the share of its ReLU's units that are zero for the whole batch, and
    `saturated` that of its tanh's or sigmoid's values at the ends of their range. A layer that is
    called several times is measured at its first call.
    """

    rms: dict[str, Tensor] = field(default_factory=dict)
    silent: dict[str, Tensor] = field(default_factory=dict)
    saturated: dict[str, Tensor] = field(default_factory=dict)
    _now: _Layer | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Let the call happen, and look at what a nonlinearity makes of the layer before it."""
        made = func(*args, **(kwargs or {}))
        if func in FUNCTIONS and self._now is not None and isinstance(made, Tensor):
            self._now.values, self._now.shape = made.detach(), shape_of(FUNCTIONS[func])
        return made

    def enter_layer(self, path: str, layer: nn.Module, output: Any) -> None:
        """A layer has put out its values; the nonlinearity may follow."""
        self.leave_layer()
        if (
            isinstance(output, Tensor)
            and output.ndim > 1
            and output.numel()
            and path not in self.rms
        ):
            last = isinstance(layer, nn.Linear)  # [N, T, D]: the units are not the second dimension
            self._now = _Layer(path, output.detach(), unit=-1 if last else 1)

    @torch.no_grad()
    def leave_layer(self) -> None:
        """Measure the layer that was entered, if one was."""
        layer, self._now = self._now, None
        if layer is None:
            return
        path, values = layer.path, layer.values
        norm = torch.linalg.vector_norm(values, dtype=torch.float32)
        self.rms[path] = norm / math.sqrt(values.numel())
        if layer.shape is Shape.RECTIFIED:
            self.silent[path] = silent_units(values, unit=layer.unit)
        elif layer.shape in ENDS:
            low, high = ENDS[layer.shape]
            self.saturated[path] = saturated_values(values, low=low, high=high)


@contextmanager
def listening(model: nn.Module) -> Iterator[Activity]:
    """Listen to the model's next forward pass within the block, and to no later one."""
    activity = Activity()
    passes: list[bool] = []

    def begin(_model: nn.Module, _inputs: Any) -> None:
        if not passes:
            activity.__enter__()  # type: ignore[no-untyped-call]

    def end(_model: nn.Module, _inputs: Any, _output: Any) -> None:
        if not passes:
            activity.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            activity.leave_layer()
        passes.append(True)

    def hear(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def heard(layer: nn.Module, _inputs: Any, output: Any) -> None:
            if not passes:
                activity.enter_layer(path, layer, output)

        return heard

    layers = [(p, m) for p, m in model.named_modules() if isinstance(m, nn.Linear | _ConvNd)]
    hooks = [layer.register_forward_hook(hear(path)) for path, layer in layers]
    hooks.append(model.register_forward_pre_hook(begin))
    hooks.append(model.register_forward_hook(end, always_call=True))
    try:
        yield activity
    finally:
        for hook in hooks:
            hook.remove()
