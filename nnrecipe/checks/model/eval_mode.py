"""The check that eval mode switches off what is for training only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import differ, examined, few, outputs_of, redrawn
from nnrecipe.checks.model.strangers import made_in_forward
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import NORMS
from nnrecipe.core.spec import Spec

SOURCE = "lecture: dropout at test time"


class EvalModeCheck(Spec):
    """In eval mode, the outputs don't depend on chance, nor on what was evaluated before."""

    source: ClassVar[str] = SOURCE

    kind: Literal["eval_mode"] = "eval_mode"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Run one batch twice, and under another seed, with weights that let everything through."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        model = redrawn(bench)
        inputs = few(bench, 16).inputs
        buffers = {path: buffer.clone() for path, buffer in model.named_buffers()}
        first, again = outputs_of(model, inputs), outputs_of(model, inputs)
        moved = _moved(model, buffers)
        stateful = differ(first, again)
        random = differ(again, outputs_of(model, inputs, seed=1))
        cause, measured, advice = None, "the same outputs under two seeds", ""
        if (random or stateful) and (fresh := made_in_forward(model, inputs)):
            cause, measured = (
                Cause.UNREGISTERED_MODULES,
                f"forward makes a new {fresh} at each call",
            )
            advice = (
                "Layers that are made inside forward have new random weights at each call, and "
                "the optimizer never sees them: make them in __init__."
            )
        elif random:
            cause, measured = Cause.EVAL_INACTIVE, "two seeds give different outputs in eval mode"
            advice = (
                "Something random ignores eval mode: use nn.Dropout, or pass "
                "training=self.training to F.dropout, and let train() and eval() reach every "
                "module" + _still_training(model)
            )
        elif moved or stateful:
            what = f" ({moved[0]})" if moved else ""
            cause = Cause.EVAL_INACTIVE
            measured = f"an evaluation changes the model's state{what}"
            advice = (
                "Running statistics move in eval mode, so that what is evaluated changes the "
                "model: look at your own train(), eval() and F.batch_norm" + _still_training(model)
            )
        yield Finding(
            check=self.kind,
            verdict=Verdict.FAIL if cause else Verdict.PASS,
            measured=measured,
            expected="the same outputs at each evaluation",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=advice,
            source=SOURCE,
        )


def _moved(model: nn.Module, before: dict[str, Tensor]) -> list[str]:
    """The paths of the running statistics of norms, and of buffers called so, that have changed."""
    norms = {path for path, module in model.named_modules() if isinstance(module, NORMS)}
    changed = [
        path
        for path, buffer in model.named_buffers()
        if buffer.is_floating_point()
        and path in before
        and not torch.equal(torch.nan_to_num(buffer), torch.nan_to_num(before[path]))
    ]
    return [p for p in changed if p.rpartition(".")[0] in norms or "running" in p]


def _still_training(model: nn.Module) -> str:
    """The modules that `eval()` left in training mode, for the advice."""
    kinds: dict[str, Any] = {}
    for path, module in model.named_modules():
        if module.training and not list(module.children()):
            kinds[path or type(module).__name__] = None
    return f" ({', '.join(list(kinds)[:3])} still in training mode)." if kinds else "."
