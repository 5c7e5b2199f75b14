"""What it costs to train a model, counted in operations, so that every machine counts alike."""

from __future__ import annotations

from nnrecipe.checks.bench import Bench
from nnrecipe.core.flops import flop_counter

EVALUATIONS = 20
"""How often an optimizer that evaluates the loss anew does so in a step, about: lbfgs's default."""


def step_flops(bench: Bench, *, examples: int) -> float:
    """The floating-point operations of an optimizer step on so many examples."""
    few = bench.sample(bench.data.train, 2)
    with flop_counter() as counter:
        loss = bench.loss_of(bench.make_model(), few)
        if loss.requires_grad:
            loss.backward()
    repeats = EVALUATIONS if bench.reevaluates else 1
    return float(counter.get_total_flops()) / len(few.targets) * examples * repeats
