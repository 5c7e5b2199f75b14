"""The check that what is left out in training leaves something to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import differ, examined, few, outputs_of, redraw
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Count, PositiveFloat, Spec

SOURCE = "Srivastava et al. 2014, section 7.3: effect of the dropout rate"


class DropoutCheck(Spec):
    """In training mode the outputs are more than noise.

    Over many passes with the same weights and examples, the variance of the outputs is compared
    with the square of their mean. A single dropout of probability p gives p / (1 - p), whatever its
    place; several in a row compound.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["dropout"] = "dropout"
    draws: Count = Field(8, description="passes with other random numbers")
    weights: Count = Field(3, description="draws of the weights")
    one: PositiveFloat = Field(
        1.5, description="noise over signal from which a single layer of more than 0.8 warns"
    )
    all: PositiveFloat = Field(
        12.0, description="noise over signal from which any cause of it warns"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Measure with weights that let everything through."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        inputs = few(bench, 16).inputs
        model = bench.make_model().train()
        noise = signal = 0.0
        with _Rates() as rates:
            for draw in range(self.weights):
                redraw(model, seed=bench.seed, draw=draw, shift=0.0)
                if not draw and not _is_random(model, inputs):
                    yield self._finding("nothing random in training mode", "noise below the signal")
                    return
                passes = torch.stack(
                    [outputs_of(model, inputs, seed=seed) for seed in range(self.draws)]
                ).float()
                spread = passes.var(0)
                noise += float(spread.mean())
                signal += float((passes.mean(0).square() - spread / self.draws).mean().clamp_min(0))
        ratio = noise / max(signal, 1e-12 * noise)
        high = rates.highest
        measured = f"noise / signal {ratio:.3g}, as of one dropout of {ratio / (1 + ratio):.2f}"
        if high > 0:
            measured += f"; the highest rate is {high:.2g}"
        sick = ratio > self.all or (high > 0.8 and ratio > self.one)
        yield self._finding(measured, f"below {self.one:g}", sick=sick, sure=high > 0.8)

    def _finding(
        self, measured: str, expected: str, *, sick: bool = False, sure: bool = False
    ) -> Finding:
        return Finding(
            check=self.kind,
            verdict=Verdict.WARN if sick else Verdict.PASS,
            measured=measured,
            expected=expected,
            cause=Cause.DROPOUT_TOO_HIGH if sick else None,
            confidence=0.0 if not sick else 0.7 if sure else 0.5,
            advice="So little is kept in training that the outputs are mostly noise: lower "
            "regularization.dropout to 0.5 or less, or the p of nn.Dropout in your module (it is "
            "the probability of dropping, not of keeping)."
            if sick
            else "",
            source=SOURCE,
        )


def _is_random(model: nn.Module, inputs: Tensor) -> bool:
    return differ(outputs_of(model, inputs), outputs_of(model, inputs, seed=1))


class _Rates(TorchDispatchMode):
    """Notes the highest rate at which numbers are dropped, be it by a module or a function."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.highest = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the operation's probability, then do it."""
        name = func.overloadpacket.__name__
        if name == "native_dropout" and args[2] is not False:
            self.highest = max(self.highest, float(args[1]))
        elif name == "bernoulli_":  # of what is kept; torch leaves its default of 0.5 out
            kept = args[1] if len(args) > 1 else 0.5
            self.highest = max(self.highest, 1 - kept if isinstance(kept, float) else 0.0)
        return func(*args, **(kwargs or {}))
