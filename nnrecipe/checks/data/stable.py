"""Whether the validation split is the same at every reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.readings import read
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec


class StableCheck(Spec):
    """Reading the validation split twice gives the same examples."""

    source: ClassVar[str] = "lecture: augmentation is for training"

    kind: Literal["stable"] = "stable"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Read a sample twice, and compare example by example: what is random may be so rarely."""
        readings = bench.once(read)
        again = readings.val_again
        first = readings.val.first(len(again))
        changed = first.changes(again)
        count = int(changed.sum())
        yield Finding(
            check="val_repeats",
            verdict=Verdict.FAIL if count else Verdict.PASS,
            measured=f"{count} of {len(again)} examples are others at a second reading",
            expected="0",
            cause=Cause.VAL_AUGMENTED if count else None,
            confidence=0.95 if count else 0.0,
            advice="Leave random augmentation out of the validation Dataset (often it shares the "
            "training transform): its score is of other images each time."
            if count
            else "",
            source=self.source,
        )
