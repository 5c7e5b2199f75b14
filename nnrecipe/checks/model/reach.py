"""The check that every parameter is registered, reached by gradients, and trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.freezing import drawn_share
from nnrecipe.checks.model.probe import examined, few, outputs_of, redraw
from nnrecipe.checks.model.strangers import hanging, made_in_forward, strangers
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec
from nnrecipe.data.batch import Batch

SOURCE = "lecture: sanity check, gradient check"


class ReachCheck(Spec):
    """A gradient arrives at every parameter, and the model and the optimizer know of each.

    What is used but not registered is found among the leaves of the graph behind the outputs.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["reach"] = "reach"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Backpropagate one batch, and try whether parameters without a gradient matter."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        model = bench.make_model().train()
        batch = few(bench)
        _backpropagate(bench, model, batch)
        if any(p.requires_grad and p.grad is None for p in model.parameters()):
            # A branch that is left out at random has its turn in eval mode.
            _backpropagate(bench, model.eval(), batch)
        named = dict(model.named_parameters())
        dry = {path: p for path, p in named.items() if p.requires_grad and p.grad is None}
        found = list(self._faults(bench, model, dry, batch))
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

    def _faults(
        self, bench: Bench, model: nn.Module, dry: dict[str, nn.Parameter], batch: Batch
    ) -> Iterator[_Fault]:
        yield from _frozen(bench, model)
        held = _held(bench, model)
        if held is not None:
            named = model.named_parameters()
            left = [path for path, p in named if p.requires_grad and id(p) not in held]
            if left:
                yield _Fault(
                    Cause.ACCIDENTAL_FREEZE,
                    left,
                    "they require a gradient, but the optimizer doesn't hold them",
                    "Give the optimizer model.parameters(), after the model is complete, or turn "
                    "requires_grad off where a layer is meant to stay.",
                    Verdict.WARN,
                    0.6,
                )
        hidden: dict[str, Tensor] = {**hanging(model), **strangers(model, batch.inputs)}
        hidden = {path: p for path, p in hidden.items() if id(p) not in (held or ())}
        fresh = made_in_forward(model.eval(), batch.inputs)
        redraw(model, seed=bench.seed)  # so that no weight of zero hides what depends on what
        detached = _that_matter(model, dry, batch)
        if detached:
            yield _Fault(
                Cause.DETACHED_GRAPH,
                detached,
                "the loss depends on them, but no gradient reaches them",
                "Look for detach(), .data, torch.no_grad() or NumPy after these layers in forward: "
                "they end the graph, so that nothing before them learns.",
                Verdict.FAIL,
            )
        unregistered = _that_matter(model, hidden, batch)
        unregistered += [f"a {fresh} made in forward"] if fresh else []
        if unregistered:
            yield _Fault(
                Cause.UNREGISTERED_MODULES,
                unregistered,
                "used, but not among model.parameters()",
                "Make layers in __init__, and keep them as attributes or in nn.ModuleList or "
                "nn.ModuleDict, and tensors in nn.Parameter or nn.ParameterList, not in a Python "
                "list or dict: the optimizer never sees them.",
                Verdict.FAIL,
            )


def _frozen(bench: Bench, model: nn.Module) -> Iterator[_Fault]:
    """Parameters that are switched off and not declared so, and whose values nobody has trained.

    Weights that have been trained are a pretrained part, which one freezes on purpose.
    """
    named = dict(model.named_parameters())
    still = [path for path, p in named.items() if not p.requires_grad and path not in bench.frozen]
    share = drawn_share(model, still)
    if share == 0:
        return
    most = share > 0.5
    yield _Fault(
        Cause.ACCIDENTAL_FREEZE,
        still,
        "requires_grad is off, the recipe doesn't declare them frozen, and the weights are as they "
        f"were drawn ({share:.0%} of all)",
        "Say so in transfer.freeze if it is meant, else leave requires_grad on: random weights "
        "that stay as they are learn nothing.",
        Verdict.FAIL if most else Verdict.WARN,
        0.85 if most else 0.6,
    )


def _held(bench: Bench, model: nn.Module) -> set[int] | None:
    """The ids of the parameters that the recipe's optimizer gets; None if it can't be made."""
    try:
        optimizer = bench.make_optimizer(model, lr=bench.learning_rate or 1e-3)
    except Exception:  # what can't be built is told elsewhere
        return None
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _backpropagate(bench: Bench, model: nn.Module, batch: Batch) -> None:
    # cuDNN's recurrent layers have no backward pass in eval mode, torch's own have
    with torch.backends.cudnn.flags(enabled=False):
        loss = bench.loss_of(model, batch._replace(inputs=batch.inputs.clone()))
        if loss.requires_grad:
            loss.backward()


@dataclass(frozen=True)
class _Fault:
    cause: Cause
    paths: list[str]
    what: str
    advice: str
    verdict: Verdict
    confidence: float = 0.95

    def finding(self) -> Finding:
        shown = ", ".join(self.paths[:6]) + (", ..." if len(self.paths) > 6 else "")
        return Finding(
            check=f"reach_{self.cause}",
            verdict=self.verdict,
            measured=f"{shown}: {self.what}",
            expected="a gradient for every parameter",
            cause=self.cause,
            confidence=self.confidence,
            advice=self.advice,
            source=SOURCE,
        )


@torch.no_grad()
def _that_matter(model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch) -> list[str]:
    """Those parameters whose doubling, plus one, changes the outputs in eval mode."""
    if not parameters:
        return []
    model.eval()
    before = outputs_of(model, batch.inputs)
    mattering = []
    for path, parameter in parameters.items():
        old = parameter.detach().clone()
        parameter.mul_(2.0).add_(1.0)
        if not torch.equal(outputs_of(model, batch.inputs), before):
            mattering.append(path)
        parameter.copy_(old)
    return mattering
