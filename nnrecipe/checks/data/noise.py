"""The share of random labels, from how a simple classifier's guesses agree with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from nnrecipe.checks.data.agreement import Agreement, Guesses

SURE_SHARE = 0.2
"""The share of the examples that are guessed with most confidence: their labels bound the noise."""
FEWEST_WRONG = 30
"""Wrong labels from which it can be told how they are wrong."""


@dataclass(frozen=True)
class Estimate:
    """A share of random labels, and its standard error."""

    share: float
    error: float

    def at_least(self, errors: float) -> float:
        """The share, less so many standard errors."""
        return self.share - errors * self.error


def against_val(agreement: Agreement, *, classes: int) -> Estimate:
    """Solve (1 - p) a + p / C = b for p, with validation's labels as the measure.

    b is how often a held-out training example's label is guessed, a how often a validation
    example's; the classes of the latter are weighted as in training.
    """
    train, val = agreement.train, agreement.val
    ideal, spread = _weighted(val, train.targets, classes=classes)
    room = ideal - 1 / classes
    if room < 0.05:  # too little is guessed for anything to be missing
        return Estimate(0.0, 1.0)
    share = (ideal - train.score) / room
    return Estimate(share, math.hypot(train.error, spread * (1 - share)) / room)


def among_sure(guesses: Guesses, *, classes: int) -> Estimate:
    """The share of random labels that would explain all that is wrong among the sure guesses.

    Easy examples are guessed right, so what is wrong with their labels is not that they are hard.
    """
    sure = _surest(guesses)
    wrong = 1 - float(guesses.correct[sure].float().mean())
    factor = classes / (classes - 1)
    error = math.sqrt(max(wrong * (1 - wrong), 1 / len(sure)) / len(sure))
    return Estimate(wrong * factor, error * factor)


def is_random(guesses: Guesses) -> bool:
    """Whether the wrong labels of sure guesses are any class, and not the likeliest of the others.

    A label that is wrong by chance comes anywhere in the order of the other classes, on average in
    its middle; that of an example which is merely hard comes early.
    """
    sure, others = _surest(guesses), guesses.scores.shape[1] - 1
    wrong = sure[~guesses.correct[sure]]
    if others < 3 or len(wrong) < FEWEST_WRONG:
        return False
    scores, given = guesses.scores[wrong], guesses.targets[wrong].unsqueeze(1)
    ranks = (scores > scores.gather(1, given)).sum(1).float()  # 1 ... C - 1
    middle, spread = (others + 1) / 2, math.sqrt((others**2 - 1) / 12 / len(wrong))
    return float(ranks.mean()) > middle - 2.5 * spread


def _surest(guesses: Guesses) -> Tensor:
    best = guesses.scores.topk(2, dim=1).values
    count = max(1, round(SURE_SHARE * len(best)))
    return (best[:, 0] - best[:, 1]).topk(count).indices


def _weighted(val: Guesses, targets: Tensor, *, classes: int) -> tuple[float, float]:
    """The accuracy in validation, its classes weighted as in `targets`, and its standard error."""
    counts = val.targets.bincount(minlength=classes)
    weights = targets.bincount(minlength=classes).float() / counts.clamp_min(1)
    each = weights[val.targets]
    ideal = float((each * val.correct).sum() / each.sum())
    effective = float(each.sum().square() / each.square().sum())
    return ideal, math.sqrt(max(ideal * (1 - ideal), 1 / effective) / effective)
