"""The check that a step leads downhill, and moves every parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.optimizer.base import StepCheck
from nnrecipe.checks.optimizer.probe import (
    Gradients,
    OptimizerProbe,
    data_gradients,
    inner,
    norm,
)
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict

STEPS = 3
UPHILL, UPHILL_ALONE = -0.05, -0.5
"""Cosines of step and descent below which all parameters, or one of them, are led uphill."""
LOUD = 100.0
"""How many times the gradient of weight decay the one by which the direction is read should be."""
FEW = 16
"""Entries of a parameter below which its direction may be chance, as with noise in the step."""
NOTABLE = 0.1
"""The share of parameters that stand still from which the training must suffer."""


class OptimizerStepCheck(StepCheck):
    """A step of the optimizer goes against the gradient, and moves all that is to be trained."""

    source: ClassVar[str] = "lecture: optimization, gradient descent"
    expects: ClassVar[str] = "a step downhill that moves every parameter"

    kind: Literal["optimizer_step"] = "optimizer_step"

    def _look(self, probe: OptimizerProbe) -> Iterator[Finding]:
        """Take steps down the data's gradient, and by noise."""
        still = [
            path for path, move in probe.moves(probe.noise(), steps=STEPS).items() if not move.any()
        ]
        gradients = probe.bench.once(data_gradients)
        if not norm(gradients):
            gradients = probe.noise()
        moves = _by_gradient(probe, _loud(probe, gradients))
        cosine = _descent(moves, gradients)
        uphill = _uphill(moves, gradients)
        shown = (
            f"cosine of step and descent {cosine:.2g}; the first step moves the weights by "
            f"{_ratio(probe, gradients):.2g} of their size"
        )
        if uphill:
            yield self._found(
                f"{shown}; uphill: {_listed(uphill)}",
                Verdict.FAIL,
                Cause.SIGN_FLIPPED,
                0.95,
                "The optimizer steps along the gradient, so it makes the loss large: look for "
                "maximize=True, or for a sign in its step; w <- w - lr * g descends.",
            )
        elif still:
            yield self._standstill(probe.bench, shown, still)
        else:
            yield self._found(shown)

    def _standstill(self, bench: Bench, shown: str, still: list[str]) -> Finding:
        sizes = {p: v.numel() for p, v in bench.make_model().named_parameters() if v.requires_grad}
        share = sum(sizes[path] for path in still) / sum(sizes.values())
        return self._found(
            f"{shown}; {share:.1%} of the parameters don't move: {_listed(still)}",
            Verdict.FAIL if share > NOTABLE else Verdict.WARN,
            Cause.ACCIDENTAL_FREEZE,
            0.95 if share > NOTABLE else 0.8,
            "The optimizer doesn't hold these parameters, or their learning rate is 0: give it all "
            "groups that it is handed, or freeze them in the open (transfer.freeze).",
        )


def _by_gradient(probe: OptimizerProbe, gradients: Gradients) -> dict[str, Tensor]:
    """What the gradients do, without what a step does anyway."""
    moves = probe.moves(gradients, steps=STEPS)
    anyway = probe.moves(probe.nothing(), steps=STEPS)
    return {path: move - anyway[path] for path, move in moves.items()}


def _loud(probe: OptimizerProbe, gradients: Gradients) -> Gradients:
    """The gradients, scaled up where weight decay would drown them."""
    weights = probe.weights()
    size = norm(gradients)
    decay = max(float(settings.get("weight_decay") or 0.0) for settings in probe.settings())
    factor = max(1.0, LOUD * decay * norm(weights) / size) if weights else 1.0
    return {path: factor * gradient for path, gradient in gradients.items()}


def _descent(moves: Mapping[str, Tensor], gradients: Gradients) -> float:
    """The cosine of the moves and of minus the gradient; 1 where there is no move."""
    sizes = norm(moves) * norm(gradients)
    return -inner(moves, gradients) / sizes if sizes else 1.0


def _uphill(moves: Mapping[str, Tensor], gradients: Gradients) -> list[str]:
    """The parameters that are led uphill; all of them if the whole step does."""
    if _descent(moves, gradients) < UPHILL:
        return list(moves)
    return [
        path
        for path, move in moves.items()
        if move.numel() >= FEW and _descent({path: move}, {path: gradients[path]}) < UPHILL_ALONE
    ]


def _ratio(probe: OptimizerProbe, gradients: Gradients) -> float:
    weights = probe.weights()
    size = norm(weights) if weights else 0.0
    return norm(probe.moves(gradients), weights) / size if size else 0.0


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
