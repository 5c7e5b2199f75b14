"""What is found of the form of a loss."""

from __future__ import annotations

from dataclasses import dataclass

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict


@dataclass(frozen=True)
class Judgement:
    """What is wrong with the form of a loss, if anything; `shown` tells what was measured.

    `growth` is the loss of a batch repeated once, over that of the batch: 1 for a mean, 2 for a
    sum.
    """

    shown: str
    verdict: Verdict = Verdict.PASS
    cause: Cause | None = None
    confidence: float = 0.0
    advice: str = ""
    growth: float = 1.0

    @property
    def sound(self) -> bool:
        """Whether the loss falls to its floor as the outputs become right, and there alone."""
        return self.cause in (None, Cause.SUM_REDUCTION) and self.verdict is not Verdict.FAIL


def proof(shown: str, cause: Cause, advice: str, *, confidence: float = 0.95) -> Judgement:
    """An identity that no sound loss satisfies."""
    return Judgement(shown, Verdict.FAIL, cause, confidence, advice)


def sign_of(shown: str, cause: Cause, advice: str, *, confidence: float) -> Judgement:
    """What speaks against a loss with which some networks are trained all the same."""
    return Judgement(shown, Verdict.WARN, cause, confidence, advice)
