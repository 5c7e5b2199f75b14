"""Functions of any network swapped from outside while it runs, as experiments need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_DROPOUTS = frozenset(
    {
        *(torch.dropout, torch.alpha_dropout, torch.feature_dropout, torch.feature_alpha_dropout),
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
        *(F.alpha_dropout, F.feature_alpha_dropout),
    }
)
_ATTENTIONS: dict[Callable[..., Any], int] = {
    F.multi_head_attention_forward: 10,
    F.scaled_dot_product_attention: 4,
}
"""Where `dropout_p` stands among the arguments."""
_SQUASHING = frozenset(
    {
        *(torch.sigmoid, torch.Tensor.sigmoid, F.sigmoid, torch.special.expit),
        *(torch.tanh, torch.Tensor.tanh, F.tanh, F.hardtanh, F.hardsigmoid, F.softsign),
    }
)


class DropoutOff(TorchFunctionMode):
    """A context in which no unit is dropped, whether a module or `forward` itself asks for it.

    `strongest` is the largest drop probability that was asked for in training mode so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.strongest = 0.0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Dropout returns its input; attention drops with probability 0."""
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            self.strongest = max(self.strongest, _probability(*args, **kwargs))
            return args[0] if args else kwargs["input"]
        place = _ATTENTIONS.get(func)
        if place is not None and len(args) > place:
            args = (*args[:place], 0.0, *args[place + 1 :])
        elif place is not None:
            kwargs = kwargs | {"dropout_p": 0.0}
        return func(*args, **kwargs)


class Rectified(TorchFunctionMode):
    """A context in which sigmoids and tanhs are ReLUs; `replaced` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """A squashing function becomes `relu` of the same input."""
        if func in _SQUASHING:
            self.replaced += 1
            return torch.relu(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


def _probability(
    _input: Any = None, p: float = 0.5, training: bool = True, *_: Any, **others: Any
) -> float:
    """The probability with which dropout's arguments say to drop: 0 in evaluation."""
    training = bool(others.get("train", training))
    return float(p) if training else 0.0


def without_dropout(model: nn.Module) -> nn.Module:
    """Set the drop probability of every dropout module to zero, in place; returns the model.

    Blocks of units and residual branches (`DropBlock2d`, `StochasticDepth`) are dropped by modules
    alone; what `forward` drops by itself, `DropoutOff` keeps.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model
