"""Class numbers that mean something else in validation than in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nnrecipe.checks.data.agreement import Guesses

FEWEST_MOVED = 20
"""Validation examples that are needed to say that their classes go by other numbers."""


def label_map(guesses: Guesses) -> dict[int, int]:
    """Which validation classes go by which other number in training; empty if none does.

    `guesses` are those about validation by training. Of all ways to exchange numbers, the one with
    most right guesses is taken, cycle by cycle. A cycle counts if by it at least twice as many
    guesses are right as without, beyond what chance could do: classes that are merely alike are
    taken for each other only about as often as for themselves.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and seldom needed

    size = guesses.scores.shape[1]
    confusion = torch.zeros(size, size)
    ones = torch.ones(len(guesses.targets))
    confusion.index_put_((guesses.targets, guesses.labels), ones, accumulate=True)
    _, named = linear_sum_assignment(confusion.numpy(), maximize=True)
    moved: dict[int, int] = {}
    for cycle in _cycles(torch.from_numpy(named).tolist()):
        labels = torch.tensor(cycle)
        others = torch.tensor([int(named[label]) for label in cycle])
        if _clear(confusion, labels, others):
            moved |= dict(zip(labels.tolist(), others.tolist(), strict=True))
    return moved


def corrected(guesses: Guesses, moved: dict[int, int]) -> float:
    """The accuracy in validation once its classes go by the numbers that training uses."""
    size = guesses.scores.shape[1]
    named = torch.tensor([moved.get(label, label) for label in range(size)])
    return float((guesses.labels == named[guesses.targets]).float().mean())


def told(moved: dict[int, int], classes: Sequence[str]) -> str:
    """The map in words: as one offset if it is one, else class by class."""
    offsets = {(other - label) % len(classes) for label, other in moved.items()}
    if len(offsets) == 1 and len(moved) == len(classes):
        offset = offsets.pop()
        step = offset if offset <= len(classes) / 2 else offset - len(classes)
        return f"training's numbers are those of validation {step:+d} (mod {len(classes)})"
    listed = [f"{classes[label]} is {classes[other]}" for label, other in moved.items()]
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return f"in training, {', '.join(listed[:5])}{more}"


def _clear(confusion: Tensor, labels: Tensor, others: Tensor) -> bool:
    exchanged = float(confusion[labels, others].sum())
    kept = float(confusion[labels, labels].sum())
    enough = float(confusion[labels].sum()) >= FEWEST_MOVED
    return enough and exchanged > 2 * kept and exchanged - kept > 4 * (exchanged + kept) ** 0.5


def _cycles(named: Sequence[int]) -> Iterator[list[int]]:
    """The cycles of a permutation, but for those of one."""
    left = {label for label, other in enumerate(named) if label != other}
    while left:
        cycle = [left.pop()]
        while named[cycle[-1]] in left:
            cycle.append(named[cycle[-1]])
            left.remove(cycle[-1])
        yield cycle
