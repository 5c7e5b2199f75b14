"""The check that examples don't see each other in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import differ, examined, few, other_inputs, outputs_of, redrawn
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec

SOURCE = "Karpathy 2019, A Recipe for Training Neural Networks: backprop to chart dependencies"
BATCH_NORMS = (
    "native_batch_norm",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_native_batch_norm",
    "_batch_norm_with_update",
)


class IsolationCheck(Spec):
    """In eval mode, an example's outputs don't change with the others in its batch."""

    source: ClassVar[str] = SOURCE

    kind: Literal["isolation"] = "isolation"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Exchange all examples but one, with weights that let everything through.

        The one is the first, a middle and the last in turn: a recurrent layer that runs along the
        batch carries nothing to the first.
        """
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        model = redrawn(bench)
        inputs = few(bench, 16).inputs
        size = max(len(inputs) // 2, 2)
        batch = inputs[:size]
        with _BatchStatistics() as seen:
            own = outputs_of(model, batch)
        mixed = any(
            differ(own[row], outputs_of(model, _with_only(batch, row, others))[row])
            for others in (inputs.flip(0)[:size], *other_inputs(batch))
            for row in sorted({0, size // 2, size - 1})
        )
        cause, advice = None, ""
        if mixed and (seen.found or _keeps_statistics(model, batch)):
            cause = Cause.EVAL_INACTIVE
            advice = (
                "A batch norm still uses the batch's statistics in eval mode: pass "
                "training=self.training to F.batch_norm, keep track_running_stats on, and let "
                "train() and eval() reach the module."
            )
        elif mixed:
            cause = Cause.BATCH_MIXING
            advice = (
                "Look for a reshape, view, transpose, softmax, mean or attention in forward that "
                "takes the batch for another dimension: dimension 0 has to stay the batch "
                "(batch_first=True, flatten(1))."
            )
        yield Finding(
            check=self.kind,
            verdict=Verdict.FAIL if cause else Verdict.PASS,
            measured="an example's outputs change with the others in its batch"
            if cause
            else "an example's outputs are the same in any company",
            expected="outputs of each example on its own, in eval mode",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=advice,
            source=SOURCE,
        )


def _with_only(batch: Tensor, row: int, others: Tensor) -> Tensor:
    """The example of one row in the company of `others`."""
    company = others.clone()
    company[row] = batch[row]
    return company


class _BatchStatistics(TorchDispatchMode):
    """Notes whether a batch norm takes the statistics of several examples.

    An instance norm is one over a batch of one, whose channels are all examples' channels.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the flag `training` of the operation, then do it."""
        name = func.overloadpacket.__name__
        if name.startswith(BATCH_NORMS) and isinstance(args[0], Tensor) and len(args[0]) > 1:
            self.found |= "with_update" in name or any(flag is True for flag in args)
        return func(*args, **(kwargs or {}))


def _keeps_statistics(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a pass in eval mode moves a buffer, as the running statistics of a norm."""
    before = [buffer.clone() for buffer in model.buffers()]
    outputs_of(model, inputs)
    pairs = zip(before, model.buffers(), strict=True)
    return any(old.is_floating_point() and not torch.equal(old, new) for old, new in pairs)
