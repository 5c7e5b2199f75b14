"""Checks of batch norms: enough examples in a batch, and statistics that follow the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, outputs_of, redraw
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import Count, PositiveFloat, Spec
from nnrecipe.data.batch import Batch
from nnrecipe.layers.interventions import DropoutOff, without_dropout
from nnrecipe.losses import LossCallable
from nnrecipe.training.averaging import recompute_statistics
from nnrecipe.training.evaluate import evaluate

SOURCE = "Ioffe and Szegedy 2015, section 3"
LAGGING = (
    "The running statistics that eval mode uses are not those of the data: set momentum to 0.1 "
    "(torch's is the share of the new batch, 1 minus Keras's), and feed eval what train was fed."
)


USUAL_MOMENTUM = (0.01, 0.5)
"""Of running statistics, in torch's sense: the share of the latest batch."""


class NormBatchSizeCheck(Spec):
    """In training, an example's outputs don't depend much on which others share its batch.

    A batch norm makes them depend, the more so the fewer examples the recipe's batches have.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["norm_batch_size"] = "norm_batch_size"
    largest: Count = Field(8, description="batch size above which nothing is measured")
    examples: Count = Field(12, description="examples that are tried")
    companies: Count = Field(8, description="batches that each of them is put into")
    limit: PositiveFloat = Field(
        0.5,
        description="variance over companies, over that between examples, that warns at `largest`; "
        "in proportion less in smaller batches",
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Put a few examples into several batches of the recipe's size."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        with DropoutOff():
            yield self._finding_of(bench)

    def _finding_of(self, bench: Bench) -> Finding:
        model = without_dropout(redraw(bench.make_model().train(), seed=bench.seed))
        if bench.batch_size > self.largest or not _uses_batches(model, few(bench, 8).inputs):
            return self._finding(f"batches of {bench.batch_size}", sick=False)
        inputs = few(bench, 64).inputs
        ratio = self._ratio(model, inputs, max(bench.batch_size, 2))
        return self._finding(
            f"batches of {bench.batch_size}: {ratio:.2g} of the variance between examples comes "
            "from their company",
            sick=ratio > self.limit * bench.batch_size / self.largest,
        )

    def _ratio(self, model: nn.Module, inputs: Tensor, size: int) -> float:
        """The variance of an example's outputs over companies, over that between examples."""
        draw = torch.Generator().manual_seed(0)
        tried = min(self.examples, len(inputs) // 2)
        others = inputs[tried:]
        rows = []
        for example in inputs[:tried]:
            for _ in range(self.companies):
                company = others[torch.randperm(len(others), generator=draw)[: size - 1]]
                rows.append(outputs_of(model, torch.cat([example[None], company]))[0])
        made = torch.stack(rows).float().unflatten(0, (tried, self.companies))
        within = made.var(1).mean()
        between = made.mean(1).var(0).mean() - within / self.companies
        return float(within / between.clamp_min(1e-6 * within).clamp_min(1e-12))

    def _finding(self, measured: str, *, sick: bool) -> Finding:
        return Finding(
            check=self.kind,
            verdict=Verdict.WARN if sick else Verdict.PASS,
            measured=measured,
            expected=f"next to nothing, or more than {self.largest} examples in a batch",
            cause=Cause.BN_SMALL_BATCH if sick else None,
            confidence=0.7 if sick else 0.0,
            advice="A batch norm takes its statistics from too few examples, which is noise: raise "
            "training.batch_size to 16 or more, or use norm: group."
            if sick
            else "",
            source="Wu and He 2018, figure 1",
        )


def _uses_batches(model: nn.Module, inputs: Tensor) -> bool:
    """Whether, in training mode, an example's outputs depend on its batch at all."""
    own = outputs_of(model, inputs)[:1]
    other = outputs_of(model, torch.cat([inputs[:1], 2 * inputs.flip(0)[1:]]))[:1]
    return not torch.allclose(own, other, rtol=1e-3, atol=1e-5)


class StatisticsCheck(Spec):
    """The running statistics of batch norms can follow the data."""

    source: ClassVar[str] = SOURCE

    kind: Literal["running_statistics"] = "running_statistics"
    epochs: Count = Field(10, description="training that they should have followed by then")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Look at each batch norm's momentum, against the steps of an epoch, and its variance."""
        norms = {
            path: module
            for path, module in bench.make_model().train().named_modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        }
        steps = self.epochs * bench.data.steps_per_epoch(bench.batch_size)
        faults = {path: fault for path, norm in norms.items() if (fault := _fault(norm, steps))}
        first = next(iter(faults), None)
        still = first is not None and norms[first].momentum == 0
        yield Finding(
            check=self.kind,
            verdict=Verdict.WARN if first else Verdict.PASS,
            measured=f"{first}: {faults[first]}" if first else f"{len(norms)} batch norms follow",
            expected="statistics that are those of the data when training ends",
            cause=Cause.BN_STATS if first else None,
            confidence=0.0 if first is None else 0.9 if still else 0.7,
            advice=LAGGING if first else "",
            source=SOURCE,
        )


def _fault(norm: _BatchNorm, steps: int) -> str:
    """What keeps running statistics from being those of the data; '' if nothing."""
    variance = norm.running_var
    if variance is not None and not bool((variance > 0).all()):
        return "a running variance that is not above 0"
    if norm.momentum is None:
        return ""
    if not 0 <= norm.momentum <= 1:
        return f"momentum {norm.momentum:g} is no share"
    kept = math.pow(1 - norm.momentum, steps)
    if kept > 0.5:
        still = f"after {steps} steps, {kept:.0%} is still the initial 0 and 1"
        return f"momentum {norm.momentum:g}: {still}"
    if norm.momentum > 0.9:
        return f"momentum {norm.momentum:g}: the statistics are those of the last batch"
    return ""


@dataclass(frozen=True)
class _Buffers:
    """The running statistics of a model, to be put back."""

    kept: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, model: nn.Module) -> _Buffers:
        return cls([(buffer, buffer.clone()) for buffer in model.buffers()])

    @torch.no_grad()
    def restore(self) -> None:
        for buffer, before in self.kept:
            buffer.copy_(before)


def judge_statistics(
    model: nn.Module,
    *,
    training: Sequence[Batch],
    validation: Sequence[Batch],
    loss: LossCallable,
    outputs: OutputSpec,
) -> Finding | None:
    """Whether a trained model does better with statistics that are computed anew; None if no norm.

    `training` are batches as the model was trained on, of no fewer than 32 examples each. The
    model is evaluated on `validation` before and after, and left as it was.
    """
    if not any(isinstance(m, _BatchNorm) and m.track_running_stats for m in model.modules()):
        return None
    before = evaluate(model, validation, loss, outputs=outputs)
    kept = _Buffers.of(model)
    try:
        recompute_statistics(model, training)
        after = evaluate(model, validation, loss, outputs=outputs)
    finally:
        kept.restore()
    name, was = before.headline
    became = after.headline[1]
    lost = not math.isfinite(before.loss) or before.loss > 1.5 * after.loss + 0.05
    sick = lost and not became - was <= 0.05 and _can_lag(model)
    return Finding(
        check="running_statistics",
        verdict=Verdict.FAIL if sick else Verdict.PASS,
        measured=f"{name} {was:.3f}, loss {before.loss:.4g}; with statistics computed anew "
        f"{became:.3f} and {after.loss:.4g}",
        expected="no difference",
        cause=Cause.BN_STATS if sick else None,
        confidence=0.9 if sick else 0.0,
        advice=LAGGING if sick else "",
        source=SOURCE,
    )


def _can_lag(model: nn.Module) -> bool:
    """Whether some statistics can't have followed the weights, by their momentum or at all.

    With a usual momentum they are some ten steps behind: where that shows, it is the training that
    swings.
    """
    low, high = USUAL_MOMENTUM
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    return any(
        norm.momentum is None
        or not low <= norm.momentum <= high
        or norm.num_batches_tracked is None
        or int(norm.num_batches_tracked) == 0
        for norm in norms
    )
