"""Checks of the training split against the validation split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.values import LECTURE, finite
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat, Spec


class ShiftCheck(Spec):
    """Training and validation inputs have the same distribution."""

    source: ClassVar[str] = LECTURE

    kind: Literal["shift"] = "shift"
    mean_shift: PositiveFloat = Field(
        0.25, description="difference of the means, in spreads, that is reported"
    )
    spread_ratio: PositiveFloat = Field(1.25, description="ratio of the spreads that is reported")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare means, spreads and quantiles of the pixel values.

        Another normalisation is an affine map of the values, so the quantiles of one split lie on
        a line over those of the other; noise or other images bend that line.
        """
        train, val = (
            finite(bench.sample(split, 2000).inputs).flatten()
            for split in (bench.data.train, bench.data.val)
        )
        if not len(train) or not len(val):
            return
        spreads = sorted((max(float(train.std()), 1e-12), max(float(val.std()), 1e-12)))
        shift = abs(float(train.mean() - val.mean())) / spreads[1]
        ratio = spreads[1] / spreads[0]
        shifted = shift > self.mean_shift or ratio > self.spread_ratio
        cause = None
        if shifted:
            affine = _affine_misfit(train, val) < 0.02
            cause = Cause.PREPROCESSING_MISMATCH if affine else Cause.DISTRIBUTION_SHIFT
        yield Finding(
            check="train_val_shift",
            verdict=Verdict.WARN if shifted else Verdict.PASS,
            measured=f"means differ by {shift:.2f} spreads, spreads by a factor {ratio:.2f}",
            expected=f"below {self.mean_shift:g}, below {self.spread_ratio:g}",
            cause=cause,
            confidence=0.85 if shifted else 0.0,
            advice="Preprocess validation exactly as training, with the training statistics."
            if cause is Cause.PREPROCESSING_MISMATCH
            else "Validation is drawn from elsewhere than training: its score tells about there."
            if shifted
            else "",
            source=self.source,
        )


class StableCheck(Spec):
    """Reading the validation split twice gives the same inputs."""

    source: ClassVar[str] = "lecture: augmentation is for training"

    kind: Literal["stable"] = "stable"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Read a sample twice and compare."""
        first, second = (bench.sample(bench.data.val, 200) for _ in range(2))
        same = torch.equal(torch.nan_to_num(first.inputs), torch.nan_to_num(second.inputs))
        same = same and torch.equal(first.targets, second.targets)
        yield Finding(
            check="val_repeats",
            verdict=Verdict.PASS if same else Verdict.FAIL,
            measured="the same" if same else "different inputs at a second reading",
            expected="the same validation examples at every reading",
            cause=None if same else Cause.VAL_AUGMENTED,
            confidence=0.0 if same else 0.95,
            advice=""
            if same
            else "Leave random augmentation out of the validation Dataset: its score is noise "
            "otherwise.",
            source=self.source,
        )


def _affine_misfit(first: Tensor, second: Tensor) -> float:
    """1 - R^2 of a line through the quantiles of one sample over those of the other."""
    levels = torch.linspace(0.01, 0.99, 99, device=first.device)
    # torch.quantile takes at most 16 million values
    x, y = (
        torch.quantile(values[:: len(values) // 1_000_000 + 1], levels)
        for values in (first, second)
    )
    correlation = torch.corrcoef(torch.stack([x, y]))[0, 1]
    return 1.0 - float(correlation) ** 2 if torch.isfinite(correlation) else 1.0
