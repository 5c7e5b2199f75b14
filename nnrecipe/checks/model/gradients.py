"""The gradient check: backpropagation against numerical differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, unmeasured
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.flops import flop_counter
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Count, PositiveFloat, Spec

SOURCE = "lecture: sanity check, gradient check"
FLOPS = 3e10
"""Floating-point operations that the check may take: a few seconds on one core."""
FEWEST = 8
"""Coordinates that are tried whatever they cost."""
STEPS = ("round", "sign", "sgn", "floor", "ceil", "trunc", "heaviside", "fake_quantize")
"""Operations that are flat but for jumps, so that a gradient through them is a substitute's."""


class GradientCheck(Spec):
    """Backpropagated gradients equal central differences, in float64.

    Of networks with many tensors, some spread over their depth are tried: what is wrong behind a
    layer is wrong for all before it.

    The loss is taken without regularization, in eval mode and under a fixed seed, on a few
    examples. At a kink of the loss (a ReLU's, say) a coordinate tells nothing, and is left out.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["gradient"] = "gradient"
    examples: Count = Field(2, description="examples in the loss that is differentiated")
    coordinates: Count = Field(2, description="coordinates of each parameter tensor that are tried")
    most: Count = Field(48, description="coordinates in all, of large networks as few as eight")
    tolerance: PositiveFloat = Field(1e-2, description="relative error from which it is wrong")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Try the steepest coordinate and random ones in every trainable parameter tensor."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        probes = self._probes(bench)
        wrong = [probe for probe in probes if not probe.kink and probe.error > self.tolerance]
        if wrong and (_is_flat(wrong) or self._has_steps(bench)):
            yield unmeasured(
                self.kind, SOURCE, "the model rounds, and gives a substitute for the gradient"
            )
        elif any(not probe.kink for probe in probes):
            yield self._judge(probes)
        else:
            why = "no gradient comes back, or only at kinks of the loss"
            yield unmeasured(self.kind, SOURCE, why)

    def _has_steps(self, bench: Bench) -> bool:
        """Whether forward rounds, quantizes or takes signs."""
        seen = _Steps()
        with torch.no_grad(), seen:
            bench.make_model().eval()(few(bench, self.examples).inputs)
        return seen.found

    def _probes(self, bench: Bench) -> list[_Probe]:
        model = bench.make_model().double().eval()
        batch = few(bench, self.examples)
        batch = batch._replace(inputs=batch.inputs.double())
        if batch.targets.is_floating_point():
            batch = batch._replace(targets=batch.targets.double())
        # cuDNN's recurrent layers have no backward pass in eval mode, torch's own have
        with torch.backends.cudnn.flags(enabled=False), flop_counter() as cost:
            loss = bench.loss_of(model, batch)
        if not loss.requires_grad:
            return []
        trainable = {path: p for path, p in model.named_parameters() if p.requires_grad}
        affordable = int(FLOPS / max(2 * cost.get_total_flops(), 1))
        most = min(self.most, max(FEWEST, affordable))
        if len(trainable) > most:
            trainable = _spread(trainable, most)
        with torch.backends.cudnn.flags(enabled=False):
            gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        objective = _Objective(lambda: bench.loss_of(model, batch), here=loss.item())
        draw = generator(bench.seed, "gradient")
        each = max(1, min(self.coordinates, most // max(len(trainable), 1)))
        return [
            _compare(objective, path, parameter, index, gradient)
            for (path, parameter), gradient in zip(trainable.items(), gradients, strict=True)
            for index in _chosen(parameter, gradient, each, draw)
        ]

    def _judge(self, probes: list[_Probe]) -> Finding:
        clear = [probe for probe in probes if not probe.kink]
        worst = max(clear, key=lambda probe: probe.error)
        wrong = [probe for probe in clear if probe.error > self.tolerance]
        cause, advice = None, ""
        if wrong and not any(probe.reached for probe in wrong):
            cause = Cause.DETACHED_GRAPH
            advice = (
                "The loss depends on these parameters, yet no gradient comes back: look for "
                "detach(), .data, torch.no_grad() or a conversion to NumPy in forward."
            )
        elif wrong:
            cause = Cause.WRONG_GRADIENT
            advice = (
                f"A backward pass between {worst.path} and the loss is wrong: look at your own "
                "autograd.Function."
            )
        return Finding(
            check="gradient",
            verdict=Verdict.FAIL if wrong else Verdict.PASS,
            measured=f"{_worded(worst)}; {len(wrong)} of {len(clear)} coordinates wrong, "
            f"{len(probes) - len(clear)} at kinks",
            expected=f"below {self.tolerance:g}",
            cause=cause,
            confidence=0.95 if wrong else 0.0,
            advice=advice,
            source=SOURCE,
        )


@dataclass(frozen=True)
class _Probe:
    """One coordinate: its gradient both ways, the relative error, and whether it lies at a kink.

    `reached` says that backpropagation gives its tensor a gradient at all.
    """

    path: str
    reached: bool
    analytic: float
    numeric: float
    error: float
    kink: bool


@dataclass(frozen=True)
class _Objective:
    """The loss as a function of the parameters as they are; `here`, where nothing is moved."""

    loss: Callable[[], Tensor]
    here: float


def _spread(trainable: dict[str, nn.Parameter], count: int) -> dict[str, nn.Parameter]:
    """`count` of the tensors, from the first to the last at equal distances."""
    paths = list(trainable)
    chosen = [paths[round(i * (len(paths) - 1) / max(count - 1, 1))] for i in range(count)]
    return {path: trainable[path] for path in chosen}


def _chosen(
    parameter: nn.Parameter, gradient: Tensor | None, count: int, draw: torch.Generator
) -> set[int]:
    """Flat indices: the steepest coordinate, and others drawn at random."""
    drawn = torch.randint(parameter.numel(), (count - 1,), generator=draw).tolist()
    steepest = 0 if gradient is None else int(gradient.abs().argmax())
    return {steepest, *drawn}


@torch.no_grad()
def _compare(
    objective: _Objective, path: str, parameter: nn.Parameter, index: int, gradient: Tensor | None
) -> _Probe:
    """Compare with central differences: |a - n| / max(|a|, |n|), beyond what rounding explains.

    Where the error is large, the loss may have kinks: then the slopes to the left and to the right
    differ, or change with the step, or agree with the gradient at a smaller step. A gradient that
    is wrong is so at every step.
    """
    at = torch.unravel_index(torch.tensor(index), parameter.shape)
    analytic = 0.0 if gradient is None else gradient[at].item()
    value = parameter[at].item()

    def slopes(step: float) -> tuple[float, float, float]:
        """(slope to the left, slope to the right, how far rounding may move them)."""
        parameter[at] = value + step
        right = objective.loss().item()
        parameter[at] = value - step
        left = objective.loss().item()
        parameter[at] = value
        rounding = 100 * torch.finfo(torch.float64).eps * max(abs(left), abs(right), 1.0) / step
        return (objective.here - left) / step, (right - objective.here) / step, rounding

    step = 1e-5 * max(abs(value), 0.1)
    left, right, rounding = slopes(step)
    error = _relative(analytic, (left + right) / 2, rounding)
    if error < 1e-4:
        return _Probe(path, gradient is not None, analytic, (left + right) / 2, error, kink=False)
    finer_left, finer_right, finer_rounding = slopes(step / 16)
    moved = max(
        _relative(left, finer_left, rounding + finer_rounding),
        _relative(right, finer_right, rounding + finer_rounding),
    )
    bend = _relative(left, right, 2 * rounding)
    finer_error = _relative(analytic, (finer_left + finer_right) / 2, finer_rounding)
    kink = max(bend, moved) > 1e-2 or finer_error < error / 2
    numeric = 0.0 if max(abs(left), abs(right)) <= rounding else (left + right) / 2
    return _Probe(path, gradient is not None, analytic, numeric, error, kink=kink)


def _is_flat(wrong: list[_Probe]) -> bool:
    """Whether nothing moves where a gradient comes back: a straight-through estimator's step."""
    return all(probe.numeric == 0 and probe.analytic != 0 for probe in wrong)


class _Steps(TorchDispatchMode):
    """Notes whether an operation with steps is done."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the operation's name, then do it."""
        self.found |= func.overloadpacket.__name__.rstrip("_").startswith(STEPS)
        return func(*args, **(kwargs or {}))


def _worded(worst: _Probe) -> str:
    if not worst.error:
        return "no difference beyond rounding"
    return f"largest relative error {worst.error:.2g} at {worst.path}"


def _relative(first: float, second: float, rounding: float) -> float:
    difference = max(abs(first - second) - rounding, 0.0)
    return difference / max(abs(first), abs(second), 1e-30)
