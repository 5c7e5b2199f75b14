"""The check that a finite loss has a finite gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Count, Spec
from nnrecipe.core.targets import is_own_file
from nnrecipe.data.batch import Batch

SOURCE = "PyTorch: automatic differentiation, anomaly detection"


class FiniteGradientCheck(Spec):
    """Where the loss is finite, so is its gradient by every parameter.

    The square root has none at 0, nor has the logarithm, and a mask behind it comes too late: 0
    times infinity is NaN. The operation is found by looking at what goes into each node of the
    graph and what comes out.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["finite_gradient"] = "finite_gradient"
    batches: Count = Field(4, description="batches that are tried")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Backpropagate through the initial model in training mode."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        model = bench.make_model().train()
        inputs, targets = few(bench, 32 * self.batches)
        parts = [Batch(i, t) for i, t in zip(inputs.split(32), targets.split(32), strict=True)]
        sick = next((b for b in parts if len(b.targets) > 1 and _breaks(bench, model, b)), None)
        culprit = _culprit(bench, model, sick) if sick else None
        told = f", from {culprit.operation} on" if culprit else ""
        line = f" at {culprit.where}" if culprit and culprit.where else ""
        yield Finding(
            check=self.kind,
            verdict=Verdict.FAIL if sick else Verdict.PASS,
            measured=f"the loss is finite, its gradient is not{told}" if sick else "finite",
            expected="a finite gradient",
            cause=Cause.NAN_GRADIENT_OP if sick else None,
            confidence=0.95 if sick else 0.0,
            advice=f"An operation{line} has no finite derivative at a value that occurs (sqrt or a "
            "norm at 0, log of 0, 0/0 behind a where): add an epsilon before it, not after."
            if sick
            else "",
            where=culprit.where if culprit else "",
            source=SOURCE,
        )


@dataclass(frozen=True)
class _Culprit:
    """The operation whose backward pass makes NaN or infinity, and its line in the user's code."""

    operation: str
    where: str


def _breaks(bench: Bench, model: nn.Module, batch: Batch) -> bool:
    """Whether a finite loss has a gradient that is not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = bench.loss_of(model, batch._replace(inputs=batch.inputs.clone()))
    if not bool(torch.isfinite(loss)) or not loss.requires_grad or not trainable:
        return False
    gradients = torch.autograd.grad(loss, trainable, allow_unused=True)
    return not all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


def _culprit(bench: Bench, model: nn.Module, batch: Batch) -> _Culprit | None:
    """The first node, from the loss on, that makes something infinite of what is finite."""
    recorded = torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(True, check_nan=False)  # each node remembers its line
    try:
        loss = bench.loss_of(model, batch._replace(inputs=batch.inputs.clone()))
        found: list[_Culprit] = []
        hooks = [node.register_hook(_watch(node, found)) for node in _nodes(loss)]
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.autograd.grad(loss, trainable, allow_unused=True)
        for hook in hooks:
            hook.remove()
    finally:
        torch.autograd.set_detect_anomaly(recorded)
    return found[0] if found else None


def _watch(node: Any, found: list[_Culprit]) -> Any:
    def hook(made: tuple[Tensor | None, ...], given: tuple[Tensor | None, ...]) -> None:
        if not found and _finite(given) and not _finite(made):
            name = type(node).__name__.removesuffix("0").removesuffix("Backward").lower()
            found.append(_Culprit(name, _line(node.metadata.get("traceback_", []))))

    return hook


def _finite(tensors: tuple[Tensor | None, ...]) -> bool:
    return all(t is None or bool(torch.isfinite(t).all()) for t in tensors)


def _nodes(loss: Tensor) -> list[Any]:
    """Every node of the graph behind a loss."""
    pending: list[Any] = [loss.grad_fn]
    seen: dict[Any, None] = {}
    while pending:
        node = pending.pop()
        if node is not None and node not in seen and type(node).__name__ != "AccumulateGrad":
            seen[node] = None
            pending.extend(parent for parent, _ in node.next_functions)
    return list(seen)


def _line(stack: list[str]) -> str:
    """`file.py:12`: the innermost line of a recorded stack that is neither ours nor torch's."""
    for entry in reversed(stack):
        head = entry.strip().split("\n")[0]
        name, _, rest = head.removeprefix('File "').partition('", line ')
        if rest and is_own_file(name):
            return f"{name}:{rest.partition(',')[0]}"
    return ""
