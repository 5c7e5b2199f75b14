"""Checks of the inputs' values as the model will see them: preprocessed, not augmented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.kernel import is_image, moments
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.checks.model.entrance import given_to_weights
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import PositiveFloat, Spec
from nnrecipe.data import ResidentSplit, Split

LECTURE = "lecture: data preprocessing"
BLOCK = 4096
DROWNED = 0.2
"""The norm of the difference between rows from which the biases of a layer outweigh it."""


class FiniteCheck(Spec):
    """No input is NaN or infinite, and no target."""

    source: ClassVar[str] = LECTURE

    kind: Literal["finite"] = "finite"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Count the values that are not finite: all those in memory, else those that were read."""
        readings, data = bench.once(read), bench.data
        splits: dict[str, Split | None] = {"train": data.train, "val": data.val, "test": data.test}
        sampled = {"train": readings.train, "val": readings.val, "test": readings.test}
        for name, split in splits.items():
            reading = sampled[name]
            if split is None or reading is None:
                continue
            broken, count = _not_finite(split, reading)
            targets = int((~torch.isfinite(split.targets)).sum())
            also = f", and {targets} targets" if targets else ""
            yield Finding(
                check=f"finite_{name}",
                verdict=Verdict.FAIL if broken or targets else Verdict.PASS,
                measured=f"{broken} of {count} values are NaN or infinite{also}",
                expected="0",
                cause=Cause.NAN_INPUT if broken or targets else None,
                confidence=0.98 if broken or targets else 0.0,
                advice=f"Find them with torch.isfinite in your {name} data, and drop or fill them "
                "(look for a division by 0, a logarithm of 0, or gaps in a table): one of them "
                "makes every weight NaN."
                if broken or targets
                else "",
                source=self.source,
            )


class ScaleCheck(Spec):
    """Inputs are centred and about 1 in size, or differ from that on purpose.

    What counts is what the model's first weights are given: forward may scale its inputs itself.
    """

    source: ClassVar[str] = LECTURE

    kind: Literal["scale"] = "scale"
    largest: PositiveFloat = Field(10.0, description="root mean square of the inputs that is large")
    smallest: PositiveFloat = Field(0.02, description="spread of the inputs that is small")

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the root mean square and the spread with the bounds; each channel's as well."""
        reading = bench.once(read).train
        if not reading.inputs.isfinite().any():
            return
        inputs = reading.inputs
        if not bool(inputs.sum().isfinite()):
            inputs = inputs[inputs.isfinite()]
        size, spread = float(inputs.square().mean().sqrt()), float(inputs.std())
        largest = float(_sizes(reading.inputs).max())
        cause, advice = self._fault(reading.inputs), ""
        inside = cause is not None and self._mended_inside(bench)
        if inside:
            cause = None
        elif cause is Cause.INPUT_UNSCALED and bench.data.normalization.kind == "center":
            cause = None
            advice = "Centred without scaling, as declared: the learning rate has to be small."
        elif cause is Cause.INPUT_UNSCALED:
            advice = (
                "Set data.normalize: {kind: standardize}, or divide by 255 in your Dataset: "
                "the gradient of the first layer grows with its input."
                if is_image(reading.inputs)
                else "Set data.normalize: {kind: standardize, per: feature}: the gradient grows "
                "with its input, so the features of largest scale decide alone."
            )
        elif cause is Cause.DOUBLE_SCALING:
            advice = (
                "The inputs look scaled twice (divided by 255 again, say), so that they hardly "
                "differ for the network: scale them once, with the statistics of what is scaled."
            )
        told = f"root mean square {size:.3g}, mean {float(inputs.mean()):.3g}, spread {spread:.3g}"
        if largest > 2 * size:
            told += f"; of the largest {'channel' if is_image(reading.inputs) else 'feature'}, "
            told += f"root mean square {largest:.3g}"
        if inside:
            told += "; the model scales them itself"
        yield Finding(
            check="input_scale",
            verdict=Verdict.WARN if cause else Verdict.PASS,
            measured=told,
            expected="centred, root mean square about 1",
            cause=cause,
            confidence=(0.85 if size > self.largest or spread < 1e-2 else 0.65) if cause else 0.0,
            advice=advice,
            source=self.source,
        )

    def _mended_inside(self, bench: Bench) -> bool:
        """Whether the model brings its inputs to a usual size before its first weights."""
        given = given_to_weights(bench)
        return given is None or self._fault(given) is None

    def _fault(self, inputs: Tensor) -> Cause | None:
        """What is wrong with the size of inputs `[N, ...]`, if anything.

        Examples that hardly differ drown in the biases. Those of a layer of F inputs are about as
        large as its weights (LeCun et al. 1998, section 4.6), so it is the norm of a difference
        that is compared with 1; a convolution sees patches alone.
        """
        if float(_sizes(inputs).max()) > self.largest:
            return Cause.INPUT_UNSCALED
        spread = float(inputs[inputs.isfinite()].std())
        apart = float(inputs.nan_to_num(0.0, 0.0, 0.0).flatten(1).var(0).sum().sqrt())
        small = 0 < spread < self.smallest and (is_image(inputs) or apart < DROWNED)
        return Cause.DOUBLE_SCALING if small else None


class ConstantCheck(Spec):
    """The inputs differ from each other."""

    source: ClassVar[str] = LECTURE

    kind: Literal["constant"] = "constant"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare how the inputs differ from example to example with how large they are."""
        for name, reading in {"train": bench.once(read).train, **bench.once(read).others()}.items():
            if len(reading) < 2:
                continue
            same = _spread(reading.inputs.nan_to_num(0.0, 0.0, 0.0).flatten(1))
            proved = same <= 1e-6 or reading.constant
            fault = proved or (is_image(reading.inputs) and same < 1e-3)
            yield Finding(
                check="inputs_differ" if name == "train" else f"inputs_differ_{name}",
                verdict=Verdict.PASS
                if not fault
                else Verdict.FAIL
                if proved and name == "train"
                else Verdict.WARN,
                measured=f"examples differ by {same:.2g} of their size, "
                f"{reading.repeated:.0%} of {len(reading)} are the same one",
                expected="examples that differ, none of them frequent",
                cause=Cause.CONSTANT_INPUT if fault else None,
                confidence=(0.98 if proved else 0.7) if fault else 0.0,
                advice=f"Look at what your {name} Dataset's __getitem__ does with its index: it "
                "returns the same input again and again, which tells nothing about the target."
                if fault
                else "",
                source=self.source,
            )


def _not_finite(split: Split, reading: Reading) -> tuple[int, int]:
    """How many values are not finite, and of how many: as they are stored, then as they are fed."""
    fed = int((~torch.isfinite(reading.inputs)).sum())
    if not isinstance(split, ResidentSplit):
        return fed, reading.inputs.numel()
    broken, count = 0, 0
    for inputs, _ in split.batches(BLOCK):
        if not inputs.is_floating_point():
            return fed, reading.inputs.numel()
        broken += int((~torch.isfinite(inputs)).sum())
        count += inputs.numel()
    return (broken, count) if broken else (fed, reading.inputs.numel() if fed else count)


def _sizes(inputs: Tensor) -> Tensor:
    """The root mean square of each channel of images, of each number of other examples."""
    mean, spread = (values.flatten() for values in moments(inputs))
    return (mean.square() + spread.square()).sqrt()


def _spread(inputs: Tensor) -> float:
    """How far examples `[N, F]` lie from their mean, root mean square, over how large they are."""
    center = inputs.mean(0)
    away = (inputs - center).square().mean().sqrt()
    return float(away / inputs.square().mean().sqrt().clamp_min(1e-12))
