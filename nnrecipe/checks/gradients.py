"""Checks of backpropagation: gradients are right, and reach every parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Count, PositiveFloat, Spec
from nnrecipe.data.batch import Batch

SOURCE = "lecture: sanity check, gradient check"


class GradientCheck(Spec):
    """Backpropagated gradients equal central differences, in float64.

    The loss is taken without regularization, in eval mode and under a fixed seed, on a few
    examples. At a kink of the loss (a ReLU's, say) a coordinate tells nothing, and is left out.
    """

    kind: Literal["gradient"] = "gradient"
    examples: Count = Field(3, description="examples in the loss that is differentiated")
    coordinates: Count = Field(2, description="coordinates of each parameter tensor that are tried")
    tolerance: PositiveFloat = Field(1e-2, description="relative error from which it is wrong")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Try the steepest coordinate and random ones in every trainable parameter tensor."""
        try:
            tried = list(self._probe(bench))
        except (RuntimeError, TypeError) as error:
            first_line = str(error).split("\n")[0]
            yield _not_measured(f"the model doesn't run in float64: {first_line}")
            return
        clear = [probe for probe in tried if not probe.kink]
        if not clear:
            yield _not_measured("every coordinate that was tried lies at a kink of the loss")
            return
        worst = max(clear, key=lambda probe: probe.error)
        wrong = [probe for probe in clear if probe.error > self.tolerance]
        detached = bool(wrong) and all(probe.analytic == 0 for probe in wrong)
        cause = (Cause.DETACHED_GRAPH if detached else Cause.WRONG_GRADIENT) if wrong else None
        yield Finding(
            check="gradient",
            verdict=Verdict.FAIL if wrong else Verdict.PASS,
            measured=f"{_worded(worst)}; {len(wrong)} of {len(clear)} coordinates wrong, "
            f"{len(tried) - len(clear)} at kinks",
            expected=f"below {self.tolerance:g}",
            cause=cause,
            confidence=0.95 if wrong else 0.0,
            advice=""
            if not wrong
            else "The loss depends on these parameters, yet no gradient comes back: look for "
            "detach(), .data, torch.no_grad() or a conversion to NumPy in forward."
            if detached
            else f"A backward pass between {worst.path} and the loss is wrong: look at your own "
            "autograd.Function.",
            source=SOURCE,
        )

    def _probe(self, bench: Bench) -> Iterator[_Probe]:
        model = bench.make_model().double().eval()
        batch = bench.sample(bench.data.train, self.examples)
        batch = batch._replace(inputs=batch.inputs.double())

        def loss() -> Tensor:
            return bench.loss_of(model, batch)

        trainable = {
            p: parameter for p, parameter in model.named_parameters() if parameter.requires_grad
        }
        unmoved = loss()
        gradients = torch.autograd.grad(unmoved, list(trainable.values()), allow_unused=True)
        here = unmoved.item()
        draw = generator(bench.seed, "gradient")
        for (path, parameter), gradient in zip(trainable.items(), gradients, strict=True):
            flat = torch.zeros(parameter.numel()) if gradient is None else gradient.flatten().cpu()
            chosen = {int(flat.abs().argmax())}
            drawn = torch.randint(parameter.numel(), (self.coordinates - 1,), generator=draw)
            for index in chosen.union(drawn.tolist()):
                yield _compare(path, float(flat[index]), loss, parameter, index, here=here)


@dataclass(frozen=True)
class _Probe:
    """One coordinate: the relative error of its gradient, and whether it lies at a kink."""

    path: str
    analytic: float
    error: float
    kink: bool


@torch.no_grad()
def _compare(
    path: str,
    analytic: float,
    loss: Callable[[], Tensor],
    parameter: nn.Parameter,
    index: int,
    *,
    here: float,
) -> _Probe:
    """Compare with central differences: |a - n| / max(|a|, |n|), beyond what rounding explains.

    `here` is the loss where nothing is moved. Where the error is large, the loss may have a kink:
    then the slopes to the left and to the right
    differ, or change with the step.
    """
    coordinate = parameter.view(-1)[index : index + 1]
    value = coordinate.item()

    def slopes(step: float) -> tuple[float, float, float]:
        """(slope to the left, slope to the right, how far rounding may move them)."""
        coordinate.fill_(value + step)
        right = float(loss())
        coordinate.fill_(value - step)
        left = float(loss())
        coordinate.fill_(value)
        rounding = 100 * torch.finfo(torch.float64).eps * max(abs(left), abs(right), 1.0) / step
        return (here - left) / step, (right - here) / step, rounding

    step = 1e-5 * max(abs(value), 0.1)
    left, right, rounding = slopes(step)
    error = _relative(analytic, (left + right) / 2, rounding)
    if error < 1e-4:
        return _Probe(path, analytic, error, kink=False)
    finer_left, finer_right, finer_rounding = slopes(step / 16)
    moved = max(
        _relative(left, finer_left, rounding + finer_rounding),
        _relative(right, finer_right, rounding + finer_rounding),
    )
    bend = _relative(left, right, 2 * rounding)
    return _Probe(path, analytic, error, kink=max(bend, moved) > 1e-2)


def _worded(worst: _Probe) -> str:
    if not worst.error:
        return "no difference beyond rounding"
    return f"largest relative error {worst.error:.2g} at {worst.path}"


def _relative(first: float, second: float, rounding: float) -> float:
    difference = max(abs(first - second) - rounding, 0.0)
    return difference / max(abs(first), abs(second), 1e-30)


def _not_measured(why: str) -> Finding:
    return Finding(
        check="gradient",
        verdict=Verdict.PASS,
        measured=f"not measured: {why}",
        expected="a comparison with central differences",
        source=SOURCE,
    )


class ReachCheck(Spec):
    """A gradient arrives at every parameter, and every layer's parameters are registered."""

    kind: Literal["reach"] = "reach"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Backpropagate one batch, and try whether parameters without a gradient matter."""
        model = bench.make_model().train()
        batch = bench.sample(bench.data.train, 32)
        bench.loss_of(model, batch).backward()
        named = dict(model.named_parameters())
        dry = {path: p for path, p in named.items() if p.requires_grad and p.grad is None}
        still = {
            path: p for path, p in named.items() if not p.requires_grad and path not in bench.frozen
        }
        hidden = _unregistered(model)
        faults = [
            _Fault(
                Cause.DETACHED_GRAPH,
                _that_matter(bench, model, dry, batch),
                "the loss depends on them, but no gradient reaches them",
                "Look for detach(), .data, torch.no_grad() or NumPy after these layers in forward.",
                Verdict.FAIL,
            ),
            _Fault(
                Cause.UNREGISTERED_MODULES,
                _that_matter(bench, model, hidden, batch),
                "used, but not among model.parameters()",
                "Keep layers in nn.ModuleList or nn.ModuleDict, and tensors in nn.ParameterList, "
                "not in a Python list or dict: the optimizer never sees them.",
                Verdict.FAIL,
            ),
            _Fault(
                Cause.ACCIDENTAL_FREEZE,
                list(still),
                "requires_grad is off, but the recipe doesn't declare them frozen",
                "Say so in transfer.freeze if it is meant, else leave requires_grad on.",
                Verdict.WARN,
            ),
        ]
        found = [fault for fault in faults if fault.paths]
        yield from (fault.finding() for fault in found)
        if not found:
            unused = f"; unused: {', '.join(dry)}" if dry else ""
            yield Finding(
                check="reach",
                verdict=Verdict.PASS,
                measured=f"{len(named) - len(dry)} of {len(named)} parameter tensors{unused}",
                expected="a gradient, or declared frozen, for each",
                source=SOURCE,
            )


@dataclass(frozen=True)
class _Fault:
    cause: Cause
    paths: list[str]
    what: str
    advice: str
    verdict: Verdict

    def finding(self) -> Finding:
        shown = ", ".join(self.paths[:6]) + (", ..." if len(self.paths) > 6 else "")
        return Finding(
            check=f"reach_{self.cause}",
            verdict=self.verdict,
            measured=f"{shown}: {self.what}",
            expected="a gradient for every parameter",
            cause=self.cause,
            confidence=0.95 if self.verdict is Verdict.FAIL else 0.6,
            advice=self.advice,
            source=SOURCE,
        )


@torch.no_grad()
def _that_matter(
    bench: Bench, model: nn.Module, parameters: dict[str, nn.Parameter], batch: Batch
) -> list[str]:
    """Those parameters whose doubling, plus one, changes the loss."""
    model.eval()
    before = float(bench.loss_of(model, batch))
    mattering = []
    for path, parameter in parameters.items():
        old = parameter.detach().clone()
        parameter.mul_(2.0).add_(1.0)
        if float(bench.loss_of(model, batch)) != before:
            mattering.append(path)
        parameter.copy_(old)
    return mattering


def _unregistered(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that hang in plain lists, tuples or dicts of a module, by a readable path."""
    known = {id(parameter) for parameter in model.parameters()}
    found: dict[str, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                path = f"{prefix}.{name}[{key}]".lstrip(".")
                if isinstance(item, nn.Parameter):
                    found[path] = item
                elif isinstance(item, nn.Module):
                    inner = item.named_parameters()
                    found.update({f"{path}.{rest}": parameter for rest, parameter in inner})
    return {path: parameter for path, parameter in found.items() if id(parameter) not in known}
