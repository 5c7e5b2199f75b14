"""Whether the order in which training sees its examples mixes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Fraction, Spec

SOURCE = "Bengio 2012, section 3.1.1 (practical recommendations: shuffle once)"


class OrderCheck(Spec):
    """A batch is a mix of all targets, by shuffling or because the examples lie mixed."""

    source: ClassVar[str] = SOURCE

    kind: Literal["order"] = "order"
    explained: Fraction = Field(
        0.3, description="share of the targets' variance between batches that is reported"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare how much the batches' mean targets vary with what a random order gives.

        1 says that each batch is all of one kind, 0 that batches are as mixed as by chance.
        """
        if bench.shuffle:
            yield self._mixed("a new order each epoch")
            return
        targets = bench.data.train.targets
        size = min(bench.batch_size, len(targets))
        batches = len(targets) // size
        if batches < 2 or size < 2:
            yield self._mixed("one batch, or one example in each")
            return
        order = torch.randperm(len(targets), generator=generator(bench.seed, "order"))
        told, chance = (_between(values, size) for values in (targets, targets[order]))
        share = max(0.0, (told - chance) / max(1 - chance, 1e-12))
        measured = (
            f"{share:.0%} of the targets' variance lies between batches ({chance:.0%} if mixed)"
        )
        if share < self.explained:
            yield self._mixed(f"not shuffled, but mixed: {measured}")
            return
        fails = share > 0.6
        yield Finding(
            check="order",
            verdict=Verdict.FAIL if fails else Verdict.WARN,
            measured=measured,
            expected=f"below {self.explained:.0%}",
            cause=Cause.UNSHUFFLED,
            confidence=0.95 if fails else 0.75,
            advice="Set training.shuffle: true (DataLoader(shuffle=True) in your own loop): the "
            "examples are sorted, so each batch unlearns what those before it taught.",
            change=("training.shuffle=true",),
            source=SOURCE,
        )

    def _mixed(self, measured: str) -> Finding:
        return Finding(
            check="order",
            verdict=Verdict.PASS,
            measured=measured,
            expected="batches that mix all targets",
            source=SOURCE,
        )


def _between(targets: Tensor, size: int) -> float:
    """The share of the targets' variance that lies between batches of this size."""
    values = _columns(targets)
    values = values[: len(values) // size * size]
    values = values - values.mean(0)
    means = values.view(-1, size, values.shape[1]).mean(1)
    whole = values.square().mean(0).sum()
    return float(means.square().mean(0).sum() / whole.clamp_min(1e-12))


def _columns(targets: Tensor) -> Tensor:
    """`[N, D]`: classes as 0 and 1, at most 100 of them; numbers in units of their spread."""
    if targets.ndim > 1:
        return targets / targets.std(0).clamp_min(1e-12)
    classes: Tensor = targets.unique()[:100]
    return (targets.unsqueeze(1) == classes).float()
