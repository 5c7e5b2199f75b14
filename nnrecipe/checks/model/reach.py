"""The check that gradients reach every parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec
from nnrecipe.data.batch import Batch

SOURCE = "lecture: sanity check, gradient check"


class ReachCheck(Spec):
    """A gradient arrives at every parameter, and every layer's parameters are registered."""

    source: ClassVar[str] = SOURCE

    kind: Literal["reach"] = "reach"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Backpropagate one batch, and try whether parameters without a gradient matter."""
        model = bench.make_model().train()
        batch = bench.sample(bench.data.train, 32)
        _backpropagate(bench, model, batch)
        if any(p.requires_grad and p.grad is None for p in model.parameters()):
            # A branch that is left out at random has its turn in eval mode.
            _backpropagate(bench, model.eval(), batch)
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


def _backpropagate(bench: Bench, model: nn.Module, batch: Batch) -> None:
    # cuDNN's recurrent layers have no backward pass in eval mode, torch's own have
    with torch.backends.cudnn.flags(enabled=False):
        loss = bench.loss_of(model, batch)
        if loss.requires_grad:
            loss.backward()


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
