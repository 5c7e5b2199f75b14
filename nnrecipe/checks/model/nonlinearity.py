"""The check that several layers are more than one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, outputs_of, redrawn
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.spec import Spec

SOURCE = "lecture: activation functions"
BENT = 1e-4
"""Distance from a straight line, over the length of the line, that rounding doesn't explain."""
POOLINGS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.max_pool1d: F.avg_pool1d,
    F.max_pool2d: F.avg_pool2d,
    F.max_pool3d: F.avg_pool3d,
    torch.max_pool1d: F.avg_pool1d,
    torch.max_pool2d: F.avg_pool2d,
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
}


class NonlinearityCheck(Spec):
    """Between two layers with weights stands something that is not linear.

    An affine map takes the midpoint of two inputs to the midpoint of their outputs. A model of
    several layers that does so with redrawn weights is no more than a single layer.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["nonlinearity"] = "nonlinearity"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Try pairs of inputs; then again, with the mean in place of max pooling."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        layers = len(weights_of(redrawn(bench)))
        inputs = few(bench, 16).inputs
        verdict, cause, confidence = Verdict.PASS, None, 0.0
        measured = f"not affine in the inputs ({layers} layers with weights)"
        if layers < 2:
            measured = "a single layer with weights"
        elif _is_affine(bench, inputs):
            verdict, cause, confidence = Verdict.FAIL, Cause.NO_NONLINEARITY, 0.95
            measured = f"the outputs are affine in the inputs, through {layers} layers"
        elif _is_affine(bench, inputs, without_pooling=True):
            verdict, cause, confidence = Verdict.WARN, Cause.NO_NONLINEARITY, 0.7
            measured = f"but for max pooling, the outputs are affine, through {layers} layers"
        yield Finding(
            check=self.kind,
            verdict=verdict,
            measured=measured,
            expected="outputs that are not affine in the inputs",
            cause=cause,
            confidence=confidence,
            advice="Layers without an activation between them are together one linear layer: put "
            "nn.ReLU() or another nonlinearity after each but the last."
            if cause
            else "",
            source=SOURCE,
        )


def _is_affine(bench: Bench, inputs: Tensor, *, without_pooling: bool = False) -> bool:
    """Whether midpoints go to midpoints, for two draws of the weights and inputs near and far."""
    return all(
        _bend(redrawn(bench, draw=draw), size * inputs, without_pooling=without_pooling) < BENT
        for draw in range(2)
        for size in (1.0, 4.0)
    )


def _bend(model: nn.Module, inputs: Tensor, *, without_pooling: bool) -> float:
    """The largest distance of an output at a midpoint from the line, over the line's length."""
    first, second = inputs, -inputs.roll(1, 0)
    with _MeanPooling(active=without_pooling):
        ends = [_straightened(outputs_of(model, x)).double() for x in (first, second)]
        middle = _straightened(outputs_of(model, (first + second) / 2)).double()
    length = (ends[0] - ends[1]).abs().amax()
    if not float(length) > 0:
        return float("inf")  # nothing gets through: that is no line, but a point
    return float((middle - (ends[0] + ends[1]) / 2).abs().amax() / length)


def _straightened(outputs: Tensor) -> Tensor:
    """The logits behind outputs [N, C] that a softmax or a sigmoid has bent, up to a shift.

    That last activation makes no network of a linear map.
    """
    outputs = outputs.double()
    if bool(((outputs > 0) & (outputs < 1)).all()):
        if torch.allclose(outputs.sum(1), torch.ones_like(outputs[:, 0]), atol=1e-4):
            logs = outputs.log()
            return logs - logs.mean(1, keepdim=True)
        return outputs.logit()
    if torch.allclose(outputs.logsumexp(1), torch.zeros_like(outputs[:, 0]), atol=1e-4):
        return outputs - outputs.mean(1, keepdim=True)
    return outputs


class _MeanPooling(TorchFunctionMode):
    """While active, max pooling gives means, be it a module's or a function's."""

    def __init__(self, *, active: bool) -> None:
        super().__init__()
        self.active = active

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, or the one that stands for it."""
        kwargs = dict(kwargs or {})
        replacement = POOLINGS.get(func) if self.active else None
        if replacement is None:
            return func(*args, **kwargs)
        for name in ("dilation", "return_indices"):
            kwargs.pop(name, None)
        return replacement(*args[:4], **kwargs)
