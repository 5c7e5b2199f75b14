"""What checks of an optimizer's single steps have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.optimizer.probe import OptimizerProbe
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec


class StepCheck(Spec):
    """A check that takes single steps on copies of the model, and says where they lead.

    A subclass has a `kind`, a `source`, what it `expects`, and looks at the steps in `_look`.
    """

    source: ClassVar[str]
    expects: ClassVar[str]

    kind: str

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Take the steps; where they can't be taken, say why."""
        if bench.reevaluates:
            yield self._found("not measured: a step evaluates the loss several times")
            return
        try:
            yield from self._look(OptimizerProbe(bench))
        except Exception as error:  # a user's optimizer may want what a probe can't give
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield self._found(f"not measured: {reason}")

    def _look(self, probe: OptimizerProbe) -> Iterator[Finding]:
        raise NotImplementedError

    def _found(
        self,
        shown: str,
        verdict: Verdict = Verdict.PASS,
        cause: Cause | None = None,
        confidence: float = 0.0,
        advice: str = "",
        *,
        check: str | None = None,
        change: tuple[str, ...] = (),
    ) -> Finding:
        """A finding under the check's own name, or that of a part of it."""
        return Finding(
            check=check or self.kind,
            verdict=verdict,
            measured=shown,
            expected=self.expects,
            cause=cause,
            confidence=confidence,
            advice=advice,
            change=change,
            source=self.source,
        )
