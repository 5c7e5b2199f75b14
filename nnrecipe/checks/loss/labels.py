"""Whether a loss pairs each output with its own target."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nnrecipe.checks.loss.judgement import Judgement, proof
from nnrecipe.checks.loss.probe import LossProbe
from nnrecipe.core.causes import Cause

EXAMPLES = 16
MOST = 0.6
"""The share of the targets that must act on other examples, for the loss to have mixed them up."""
SHOWN = 5
"""Labels that are listed before the list ends in dots."""


def mispaired(probe: LossProbe) -> Judgement | None:
    """Whose pull changes with an example's target: its own, another's, or nobody's."""
    logits, targets = probe.logits(EXAMPLES, spread=0.5), probe.targets(EXAMPLES)
    before = probe.pull(logits, targets)
    least = 1e-6 * float(before.norm(dim=1).max())
    for others in _others(logits, targets, probe):
        changes = [
            (probe.pull(logits, _exchanged(targets, row, others)) - before).norm(dim=1)
            for row in range(EXAMPLES // 2)
        ]
        if not all(bool((change <= least).all()) for change in changes):
            break
    else:
        return proof(
            "the loss is the same whatever the targets",
            Cause.LOSS_MISMATCH,
            "The loss doesn't look at its second argument, so there is nothing to learn: compare "
            "the outputs with the targets.",
        )
    told = [(row, change) for row, change in enumerate(changes) if bool(change.any())]
    astray = sum(_is_others(change, row) for row, change in told)
    if astray < MOST * len(told):  # a permutation may leave some where they are
        return None
    return proof(
        "an example's target changes the pull on other examples as much as on its own",
        Cause.MISALIGNED_LABELS,
        "The loss pairs outputs with the targets of other examples: look for roll, sort or a "
        "permutation in it, and for shapes [N] and [N, 1] that broadcast to [N, N].",
    )


def _is_others(change: Tensor, row: int) -> bool:
    """Whether the pull changed elsewhere and not in `row`, or in most rows about as much.

    A loss of the hardest examples alone may take up one in place of another: that is sound.
    """
    own, others = change[row], torch.cat([change[:row], change[row + 1 :]])
    return bool(own < 0.01 * others.max()) or bool(others.median() > 0.5 * own)


def _others(logits: Tensor, targets: Tensor, probe: LossProbe) -> Iterator[Tensor]:
    """Another target for each example, and what else it could be.

    A loss that pulls equally hard from afar tells values apart only on either side of an output.
    """
    if probe.task == "single_label":
        yield (targets + 1) % probe.outputs.size
    elif probe.task == "multi_label":
        yield 1 - targets
    else:
        yield targets + torch.tensor(probe.outputs.target_std or 1.0, device=targets.device)
        middle = logits.mean(1, keepdim=True)
        yield 2 * middle - targets


def _exchanged(targets: Tensor, row: int, others: Tensor) -> Tensor:
    """The targets, of which that of `row` is another."""
    changed = targets.clone()
    changed[row] = others[row]
    return changed


def mismapped(probe: LossProbe) -> Judgement | None:
    """Which output each label raises most, more than it would be raised otherwise."""
    size = probe.outputs.size
    if probe.task == "regression" and size == 1:
        return None
    count = 4 * size if probe.task == "single_label" else 256
    targets = probe.targets(count)
    logits = probe.logits(count, spread=0.01)
    response = _response(probe.pull(logits, targets), targets, probe)
    if probe.task == "regression" and not bool(response.any()):  # all lie on one side of them
        targets = targets - targets.mean(0)
        response = _response(probe.pull(logits, targets), targets, probe)
    largest, raised = response.max(1)
    own = response.diagonal()
    # A class that only lowers its own output has a weight below 0, which is another check's.
    lowered = own.abs() > 1.01 * largest if probe.task == "single_label" else own >= 0
    wrong = ((own < 0.99 * largest) & ~lowered).nonzero()[:, 0].tolist()
    if not wrong:
        return None
    pairs = ", ".join(f"{label} raises {int(raised[label])}" for label in wrong[:SHOWN])
    more = ", ..." if len(wrong) > SHOWN else ""
    return proof(
        f"{len(wrong)} of {size} labels raise another output than their own: {pairs}{more}",
        Cause.LABEL_MAP_MISMATCH,
        "The loss changes the labels before it compares: look for an offset, a permutation or a "
        "table of classes in it, because predictions are read off with the labels as they are.",
    )


def _response(pull: Tensor, targets: Tensor, probe: LossProbe) -> Tensor:
    """[size, width] How much each label's presence, or a larger value, raises each output."""
    pull = pull.double()
    if probe.task == "single_label":
        present = probe.answers(targets)[:, : probe.outputs.size].double()
        return present.T @ pull / present.sum(0)[:, None]
    centered = targets.double() - targets.double().mean(0)
    response = centered.T @ pull
    rounding = 1e-6 * (centered.abs().T @ pull.abs())
    return torch.where(response.abs() <= rounding, 0.0, response)
