"""Class numbers that mean something else in validation than in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnrecipe.checks.data.agreement import Guesses

FEWEST_MOVED = 10
"""Validation examples of a class that are needed to say that its number is another."""


def label_map(guesses: Guesses) -> dict[int, int]:
    """Which validation classes go by which other number in training; empty if none does.

    `guesses` are those about validation by training. A class is moved where its examples are
    taken for one other class at least three times as often as for itself, and more often than
    chance could have it. Numbers are only exchanged, so no two classes may go by the same one:
    that leaves out what is merely hard to tell apart.
    """
    size = guesses.scores.shape[1]
    confusion = torch.zeros(size, size)
    ones = torch.ones(len(guesses.targets))
    confusion.index_put_((guesses.targets, guesses.labels), ones, accumulate=True)
    moved = {}
    for label, row in enumerate(confusion):
        other = int(row.argmax())
        taken, kept = float(row[other]), float(row[label])
        clear = taken - kept > 4 * (taken + kept) ** 0.5 and kept < taken / 3
        if other != label and clear and row.sum() >= FEWEST_MOVED and taken > row.sum() / 4:
            moved[label] = other
    named = [moved.get(label, label) for label in range(size)]
    exchanged = set(moved.values()) == set(moved) or len(moved) >= size / 2
    return moved if len(moved) > 1 and len(set(named)) == size and exchanged else {}


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
