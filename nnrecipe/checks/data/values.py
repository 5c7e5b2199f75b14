"""Checks of the inputs' values as the model will see them: preprocessed, not augmented."""

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
        inputs = finite(bench.sample(bench.data.train, 2000).inputs)
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
        inputs = finite(bench.sample(bench.data.train, 500).inputs).flatten(1)
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


def finite(inputs: Tensor) -> Tensor:
    """Those examples whose values are all finite."""
    return inputs[torch.isfinite(inputs.flatten(1)).all(1)].float()
