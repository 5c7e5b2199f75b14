"""The training split against the others: the same preprocessing, and the same kind of inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import agree
from nnrecipe.checks.data.domain import (
    ALIKE,
    REVERSED,
    Channel,
    apart,
    channels,
    differing,
    matched,
    undone_by,
)
from nnrecipe.checks.data.kernel import Kernel, is_image, standardized
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.checks.data.structure import destroyed, neighbours
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Spec

SOURCE = "lecture: data preprocessing; Rabanser et al. 2019 (failing loudly)"
AFFINE = 0.02
"""1 - R2 of a line through quantiles over quantiles, up to which the one is an affine map of the
other."""
SHARPER = 3.0
"""The factor by which neighbouring pixels differ more, from which it is another kind of images."""
SAME = 0.6
"""The area under the ROC curve up to which two splits are the same."""


class ShiftCheck(Spec):
    """Validation and test inputs are preprocessed as training's are, and are of the same kind."""

    source: ClassVar[str] = SOURCE

    kind: Literal["shift"] = "shift"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the values channel by channel, then everything beyond affine maps of them.

        Another normalisation is an affine map of the values: quantiles lie on a line over
        quantiles, and once each split is standardized by itself, a classifier can't tell them
        apart. As many examples of each class are compared, so other proportions don't count.
        """
        readings = bench.once(read)
        for name, other in readings.others().items():
            train, matching = matched(readings.train, other)
            if len(train) < 2 or readings.train.faulty or other.faulty:
                continue
            moved, found = differing(bench, name), channels(train, matching)
            largest = max(moved or found, key=lambda channel: channel.distance)
            told = _told(largest, len(found), images=is_image(other.inputs))
            finding = None
            if name == "val" and readings.fixed:
                finding = _other_kind(bench, train, matching, told, differs=bool(moved))
            if finding is None and moved:
                finding = _other_scale(bench, name, moved, told)
            yield finding or Finding(
                check=f"train_{name}_shift",
                verdict=Verdict.PASS,
                measured=told,
                expected="the same means and spreads",
                source=SOURCE,
            )


def _other_kind(
    bench: Bench, train: Reading, val: Reading, told: str, *, differs: bool
) -> Finding | None:
    """Validation that is told apart beyond affine maps, and for which training is no help."""
    area = bench.once(apart)
    if area < ALIKE or bench.once(destroyed):
        return None
    measured = f"a classifier tells training from validation (area under the curve {area:.2f})"
    if is_image(train.inputs):
        change, left = undone_by(Kernel(train.inputs, seed=bench.seed), train.inputs, val.inputs)
        if left < SAME:
            return _changed(change, f"{measured}, but not once validation is {change} ({left:.2f})")
    lost, sharper = _lost(bench), _sharper(train, val)
    if lost is None and not (differs and area > 0.95) and sharper < SHARPER:
        return None
    harm = "" if lost is None else f"; {lost}"
    if sharper > SHARPER:
        told += f", neighbouring pixels by a factor {sharper:.1f}"
    return Finding(
        check="train_val_shift",
        verdict=Verdict.WARN,
        measured=f"{measured}, {told}{harm}",
        expected="training and validation that can't be told apart",
        cause=Cause.DISTRIBUTION_SHIFT,
        confidence=0.75 if lost is None else min(0.9, 0.6 + 2 * (area - ALIKE)),
        advice="Look at images of both splits side by side: one is noisy, blurred, or from "
        "elsewhere. Draw both from the same source, or the validation score tells about another.",
        source=SOURCE,
    )


def _sharper(train: Reading, val: Reading) -> float:
    """By what factor neighbouring pixels differ more in one split, by noise or for lack of blur."""
    if not is_image(train.inputs):
        return 1.0
    rough = [max(1 - neighbours(standardized(r.inputs)), 1e-6) for r in (train, val)]
    return max(rough) / min(rough)


def _changed(change: str, measured: str) -> Finding:
    """Validation that is training's kind of images, but for one change to all of them."""
    cause = Cause.PREPROCESSING_MISMATCH if change == REVERSED else Cause.DISTRIBUTION_SHIFT
    return Finding(
        check="train_val_shift",
        verdict=Verdict.FAIL,
        measured=measured,
        expected="training and validation that can't be told apart",
        cause=cause,
        confidence=0.93,
        advice=f"Validation images look like training's {change}: load both splits with the same "
        "code.",
        source=SOURCE,
    )


def _other_scale(bench: Bench, name: str, moved: list[Channel], told: str) -> Finding | None:
    """Values of another scale, where nothing beyond that has been found.

    Random augmentation may move values as well, but not along a line.
    """
    fixed = bench.once(read).fixed
    affine = max(channel.misfit for channel in moved) < AFFINE
    if not (fixed or affine):
        return None
    if name != "val" or not fixed:
        area, harder, mismatch = 1.0, False, affine
    else:
        area, harder = bench.once(apart), _harder(bench)
        mismatch = area < ALIKE and not harder
    if not mismatch:
        return _elsewhere(name, told, confidence=0.8 if harder else 0.5)
    same = area < SAME
    largest = max(moved, key=lambda channel: channel.distance)
    much = largest.factor > 2 or abs(largest.shift) > 1
    confidence = (0.95 if much else 0.85) if same else 0.75 if much else 0.5
    return Finding(
        check=f"train_{name}_shift",
        verdict=Verdict.FAIL if same and much else Verdict.WARN,
        measured=f"{told}; standardized, they are the same" if same else told,
        expected="the same means and spreads",
        cause=Cause.PREPROCESSING_MISMATCH,
        confidence=confidence,
        advice=f"Preprocess {name} exactly as training, with the training statistics: set "
        "data.normalize for all splits, or use the same Normalize in both transforms.",
        source=SOURCE,
    )


def _elsewhere(name: str, told: str, *, confidence: float) -> Finding:
    return Finding(
        check=f"train_{name}_shift",
        verdict=Verdict.WARN,
        measured=told,
        expected="the same means and spreads",
        cause=Cause.DISTRIBUTION_SHIFT,
        confidence=confidence,
        advice=f"The {name} split is drawn from elsewhere than training, or one of them is noisy: "
        "draw both from the same source, or its score tells about another.",
        source=SOURCE,
    )


def _lost(bench: Bench) -> str | None:
    """In words, that training teaches less about validation than as much of validation itself."""
    agreement = bench.once(agree)
    if agreement is None:
        return None
    own, train = agreement.within_val, agreement.train
    count = min(len(own.targets), len(train.targets))
    got = agreement.learnt_from(torch.arange(count))
    lost, error = own.better_than(got)
    if lost > 0.03 + 2.5 * error or (got.at_chance and train.informed):
        return f"validation teaches {own.told} about itself, training {got.score:.2f}"
    return None


def _harder(bench: Bench) -> bool:
    """Whether one split tells less about itself than the other: affine maps don't change that."""
    agreement = bench.once(agree)
    if agreement is None:
        return False
    train, val = agreement.train, agreement.within_val
    apart = max(val.score - train.score, 0.0)
    return apart > 0.05 + 3 * math.hypot(train.error, val.error)


def _told(channel: Channel, count: int, *, images: bool) -> str:
    where = f" in the {'channel' if images else 'feature'} that differs most" if count > 1 else ""
    means, spreads = f"means differ by {abs(channel.shift):.2f} spreads", f"{channel.factor:.2f}"
    return f"{means}, spreads by a factor {spreads}{where}"
