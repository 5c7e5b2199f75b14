"""A loss from the user's own code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter, isclass, signature
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import OutputSpec, SingleTask, Task
from nnrecipe.core.targets import Target, blaming, import_target
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.function import LossCallable, LossFunction


class CustomLoss(LossSpec):
    """A user's loss: a class or factory that makes one, or a plain function that is one.

    `target` is called with `args` and returns `(outputs [N, size], targets) -> scalar`:
    `torch.nn:CrossEntropyLoss`, say. A function that still lacks exactly two arguments then is
    taken for the loss itself: `def focal(logits, targets, gamma=2.0)`.
    """

    source: ClassVar[str] = "your own code"
    tasks: ClassVar[frozenset[Task]] = frozenset(get_args(SingleTask))

    kind: Literal["custom"] = "custom"
    target: Target = Field(description="package.module:callable that makes the loss, or is it")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of target")

    def function(self, outputs: OutputSpec) -> CustomLossFunction:  # noqa: ARG002
        """The user's loss; its errors become `UserError` with the user's file and line."""
        function = import_target("loss.target", self.target)
        with blaming("loss.target", self.target):
            loss = self._call_or_take(function)
        if not callable(loss):
            found = f"{self.target} returned {type(loss).__name__}"
            remedy = "return a callable (outputs, targets) -> scalar"
            raise UserError(f"loss.target: {found}: {remedy}")
        return CustomLossFunction(loss, self.target)

    def chance_level(self, outputs: OutputSpec) -> None:
        """Unknown."""

    def _call_or_take(self, function: Callable[..., Any]) -> Any:
        ready_made = isinstance(function, nn.Module) and not self.args
        if ready_made or (not isclass(function) and len(_lacking(function, self.args)) == 2):
            return partial(function, **self.args) if self.args else function
        return function(**self.args)


class CustomLossFunction(LossFunction):
    """The user's loss, which must return one number."""

    def __init__(self, loss: LossCallable, target: str) -> None:
        super().__init__(loss)
        self.target = target

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a model's outputs [N, size], a scalar."""
        with blaming("loss.target", self.target):
            value = super().__call__(outputs, targets)
        if not isinstance(value, Tensor) or value.ndim:
            found = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            remedy = "return the mean over the batch, a scalar tensor"
            raise UserError(f"loss.target: {self.target} returned {found}: {remedy}")
        return value


def _lacking(function: Callable[..., Any], args: dict[str, Any]) -> list[str]:
    """The positional parameters without a default that `args` does not name."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # builtins may have no signature
        return []
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.kind in positional and p.default is p.empty]
    return [name for name in needed if name not in args]
