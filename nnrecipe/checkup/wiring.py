"""The stage that only plain code needs: whether model, loss and optimizer belong together."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nnrecipe.checkup.loss import name_of
from nnrecipe.checkup.optimizer import PlainOptimizer
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.losses import LossCallable
from nnrecipe.stages import Run

SOURCE = "your own code"


@dataclass(frozen=True)
class WiringStage:
    """What a config rules out: outputs that broadcast in the loss, parameters without optimizer.

    `outputs` and `targets` are a few, as the user's model and loader give them.
    """

    kind: ClassVar[str] = "wiring"
    model: str
    loss: LossCallable
    optimizer: PlainOptimizer
    outputs: Tensor
    targets: Tensor
    trainable: frozenset[str]
    facts: dict[str, Any]

    def run(self, run: Run) -> StageResult:
        """Compare shapes, and look at what the optimizer holds."""
        run.progress.begin(self.kind)
        optimizer = self.optimizer.optimizer
        facts = {
            "model": self.model,
            "loss": name_of(self.loss),
            "optimizer": "none given" if optimizer is None else type(optimizer).__name__,
            **self.facts,
        }
        findings = [self._shapes()]
        if optimizer is not None:
            findings += [self._held(), self._rate()]
        return StageResult.of(self.kind, facts, findings)

    def _shapes(self) -> Finding:
        """Whether the loss compares each output with its own target.

        Outputs `[N, 1]` less targets `[N]` are `[N, N]`: every output against every target, which
        only their mean makes small.
        """
        outputs, targets = self.outputs, self.targets.to(self.outputs.device)
        crossed = False
        if outputs.shape != targets.shape and outputs.numel() == targets.numel():
            made_up = torch.randn(outputs.shape, generator=generator(0, "wiring"))
            made_up = made_up.to(outputs.device)
            as_given = _value(self.loss, made_up, targets)
            aligned = _value(self.loss, made_up.reshape(targets.shape), targets)
            crossed = abs(as_given - aligned) > 1e-4 * abs(aligned)  # NaN, of a loss that fails, no
        shapes = f"outputs {list(outputs.shape)}, targets {list(targets.shape)}"
        return Finding(
            check="shapes",
            verdict=Verdict.FAIL if crossed else Verdict.PASS,
            measured=f"{shapes}: every output is compared with every target" if crossed else shapes,
            expected="a loss of each output against its own target",
            cause=Cause.LOSS_MISMATCH if crossed else None,
            confidence=0.95 if crossed else 0.0,
            advice="Give both the same shape before the loss: outputs.squeeze(1), or "
            "targets.unsqueeze(1). As it is they are broadcast, and the best that the model can do "
            "is to give the targets' mean."
            if crossed
            else "",
            source="numpy's broadcasting rules",
        )

    def _held(self) -> Finding:
        missing = sorted(self.trainable - self.optimizer.held)
        nothing = not self.optimizer.held
        shown = ", ".join(missing[:6]) + ", ..." * (len(missing) > 6)
        return Finding(
            check="optimizer_holds",
            verdict=Verdict.FAIL if nothing else Verdict.WARN if missing else Verdict.PASS,
            measured="none of the model's parameters"
            if nothing
            else f"all but {shown}"
            if missing
            else f"all {len(self.trainable)} parameter tensors that require a gradient",
            expected="every parameter that requires a gradient",
            cause=Cause.ACCIDENTAL_FREEZE if missing else None,
            confidence=0.95 if nothing else 0.6 if missing else 0.0,
            advice=_HELD_ADVICE if missing else "",
            source=SOURCE,
        )

    def _rate(self) -> Finding:
        rate = self.optimizer.learning_rate
        return Finding(
            check="learning_rate",
            verdict=Verdict.PASS if rate else Verdict.FAIL,
            measured=f"{rate or 0:g}",
            expected="above 0",
            cause=None if rate else Cause.LR_TOO_LOW,
            confidence=0.0 if rate else 0.95,
            advice="" if rate else "Give the optimizer a learning rate: at 0 nothing changes.",
            source=SOURCE,
        )


_HELD_ADVICE = (
    "Make the optimizer from model.parameters(), after the model has got its last layer: what it "
    "doesn't hold stays as it is. If that is meant, switch requires_grad off for these."
)


@torch.no_grad()
def _value(loss: LossCallable, outputs: Tensor, targets: Tensor) -> float:
    """The loss; NaN where it can't be computed, which is near to nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of just this
        try:
            return float(loss(outputs, targets))
        except Exception:
            return math.nan
