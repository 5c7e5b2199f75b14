"""Checks of the data as the model will see it: after preprocessing, without augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import Count, PositiveFloat, Spec

LECTURE = "lecture: data preprocessing"


class FiniteCheck(Spec):
    """No input is NaN or infinite."""

    source: ClassVar[str] = LECTURE

    kind: Literal["finite"] = "finite"
    examples: Count = Field(5000, description="examples looked at in each split")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Count the values that are not finite."""
        splits = {"train": bench.data.train, "val": bench.data.val}
        for name, split in splits.items():
            inputs = bench.sample(split, self.examples).inputs
            broken = int((~torch.isfinite(inputs)).sum())
            yield Finding(
                check=f"finite_{name}",
                verdict=Verdict.FAIL if broken else Verdict.PASS,
                measured=f"{broken} of {inputs.numel()} values are NaN or infinite",
                expected="0",
                cause=Cause.NAN_INPUT if broken else None,
                confidence=0.98 if broken else 0.0,
                advice=f"Find them with torch.isfinite in your {name} data, and drop or fill them: "
                "one of them makes every weight NaN."
                if broken
                else "",
                source=self.source,
            )


class ScaleCheck(Spec):
    """Inputs are centred and about 1 in size, or differ from that on purpose."""

    source: ClassVar[str] = LECTURE

    kind: Literal["scale"] = "scale"
    largest: PositiveFloat = Field(10.0, description="root mean square of the inputs that is large")
    smallest: PositiveFloat = Field(0.02, description="spread of the inputs that is small")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the root mean square and the spread with the bounds."""
        inputs = _finite(bench.sample(bench.data.train, 2000).inputs)
        if not len(inputs):
            return
        size, spread = float(inputs.square().mean().sqrt()), float(inputs.std())
        verdict, cause, advice = Verdict.PASS, None, ""
        if size > self.largest and bench.data.normalization.kind == "center":
            advice = "Centred without scaling, as declared: the learning rate has to be small."
        elif size > self.largest:
            verdict, cause = Verdict.WARN, Cause.INPUT_UNSCALED
            advice = (
                "Set data.normalize: {kind: standardize}, or divide by 255 in your Dataset: "
                "the gradient of the first layer grows with its input."
            )
        elif 0 < spread < self.smallest and size < self.smallest:
            verdict, cause = Verdict.WARN, Cause.DOUBLE_SCALING
            advice = "The inputs look scaled twice (divided by 255 again, say): scale them once."
        yield Finding(
            check="input_scale",
            verdict=verdict,
            measured=f"root mean square {size:.3g}, mean {float(inputs.mean()):.3g}, "
            f"spread {spread:.3g}",
            expected="centred, root mean square about 1",
            cause=cause,
            confidence=0.8 if cause else 0.0,
            advice=advice,
            source=self.source,
        )


class ConstantCheck(Spec):
    """The inputs differ from each other."""

    source: ClassVar[str] = LECTURE

    kind: Literal["constant"] = "constant"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the spread from example to example with the size of the inputs."""
        inputs = _finite(bench.sample(bench.data.train, 500).inputs).flatten(1)
        if len(inputs) < 2:
            return
        spread = float((inputs - inputs[0]).abs().max())
        same = spread <= 1e-6 * max(float(inputs.abs().max()), 1e-12)
        yield Finding(
            check="inputs_differ",
            verdict=Verdict.FAIL if same else Verdict.PASS,
            measured=f"largest difference between two of {len(inputs)} inputs: {spread:.3g}",
            expected="above 0",
            cause=Cause.CONSTANT_INPUT if same else None,
            confidence=0.98 if same else 0.0,
            advice="All inputs are the same: look at what the Dataset's __getitem__ does with its "
            "index."
            if same
            else "",
            source=self.source,
        )


class ClassesCheck(Spec):
    """Every class is in the training split, and none is rare."""

    source: ClassVar[str] = "lecture: look at the data"

    kind: Literal["classes"] = "classes"
    imbalance: PositiveFloat = Field(
        10.0, description="largest class over smallest, from which imbalance is reported"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Count the training examples of each class; a regression has none."""
        if bench.outputs.task == "multi_label":
            yield _labels_vary(bench)
        if bench.outputs.task != "single_label":
            return
        counts = torch.tensor(bench.outputs.class_counts)
        missing = [bench.data.classes[int(i)] for i in (counts == 0).nonzero().flatten()]
        ratio = float(counts.max() / counts[counts > 0].min())
        uneven = ratio >= self.imbalance and not missing
        advice, cause = "", None
        if missing:
            cause = Cause.MISSING_CLASS
            advice = "The model can't learn a class that it never sees: look at how you split."
        elif uneven:
            cause = Cause.CLASS_IMBALANCE
            advice = "Weigh the classes: loss: {kind: cross_entropy, class_weights: balanced}."
        yield Finding(
            check="classes",
            verdict=Verdict.FAIL if missing else Verdict.WARN if uneven else Verdict.PASS,
            measured=f"no training example of {', '.join(missing)}"
            if missing
            else f"{int(counts.min())} to {int(counts.max())} training examples a class",
            expected=f"every class, the largest less than {self.imbalance:g} x the smallest",
            cause=cause,
            confidence=0.95 if missing else 0.5 if uneven else 0.0,
            advice=advice,
            source=self.source,
        )


def _labels_vary(bench: Bench) -> Finding:
    """Whether each label is there in some training examples, and missing in others."""
    named = zip(bench.data.classes, bench.outputs.class_counts, strict=True)
    fixed = [name for name, count in named if count in (0, bench.outputs.examples)]
    return Finding(
        check="labels",
        verdict=Verdict.FAIL if fixed else Verdict.PASS,
        measured=f"the same in every training example: {', '.join(fixed)}"
        if fixed
        else f"{min(bench.outputs.class_counts)} to {max(bench.outputs.class_counts)} of "
        f"{bench.outputs.examples} training examples have a label",
        expected="each label in some training examples, but not in all",
        cause=Cause.MISSING_CLASS if fixed else None,
        confidence=0.95 if fixed else 0.0,
        advice="The model can't learn a label that never varies: leave it out, or look at how "
        "you split."
        if fixed
        else "",
        source=ClassesCheck.source,
    )


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
            _finite(bench.sample(split, 2000).inputs).flatten()
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


def _finite(inputs: Tensor) -> Tensor:
    """Those examples whose values are all finite."""
    return inputs[torch.isfinite(inputs.flatten(1)).all(1)].float()


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
