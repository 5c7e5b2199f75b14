"""Whether it still matters where in an example its numbers stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import FEWEST, Guesses, coded
from nnrecipe.checks.data.kernel import Kernel, Ridge, is_image, standardized
from nnrecipe.checks.data.readings import Reading, read
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Spec

FEWEST_ROWS = 100
"""Rows from which their correlations are no accident."""
NEIGHBOURS = 0.1
"""The correlation of adjacent pixels below which an image has no structure; photographs: 0.9."""
EVEN = 1.5
"""Variance of the positions' means over that of as many random numbers: 1 where all positions are
alike; by far more in any data whose positions mean something."""
PARTNERS = 0.5
"""The correlation with its likest other position that pixels of natural images surpass."""
MOST_POSITIONS, MOST_EXAMPLES = 1024, 1000
GLANCE = 200
"""Examples that show whether a closer look is needed."""
SOURCE = "lecture: look at the data; Zhang et al. 2017, section 2 (shuffled pixels)"


class StructureCheck(Spec):
    """It matters where in an image a pixel stands."""

    source: ClassVar[str] = SOURCE

    kind: Literal["structure"] = "structure"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Shuffle the pixels of each image, where neighbours look unrelated, and see what is lost.

        If nothing is, they have been shuffled before, or are noise. Images that are white noise by
        nature, but tell about their class, lose what they tell.
        """
        gone = bench.once(destroyed)
        if gone:
            yield _gone(gone)
            return
        reading = bench.once(read).train
        if not is_image(reading.inputs):
            measured, permuted = "the examples are no images", False
        else:
            near = neighbours(standardized(reading.inputs[:GLANCE]))
            measured = f"the correlation of neighbouring pixels is {near:.2f}"
            permuted = near < NEIGHBOURS and partners(reading.inputs, reading.targets) > PARTNERS
        yield Finding(
            check="input_structure",
            verdict=Verdict.WARN if permuted else Verdict.PASS,
            measured=f"{measured}, but pixels further apart are alike" if permuted else measured,
            expected="neighbouring pixels are alike, or pixels tell of the class by their place",
            cause=Cause.INPUT_DESTROYED if permuted else None,
            confidence=0.45 if permuted else 0.0,
            advice="All images look as if their pixels were in one wrong order (a view or reshape "
            "with the wrong dimensions): a convolution then finds nothing local."
            if permuted
            else "",
            source=SOURCE,
        )


def _gone(gone: dict[str, Structure]) -> Finding:
    name, found = next(iter(gone.items()))
    return Finding(
        check="input_structure",
        verdict=Verdict.FAIL,
        measured=f"in {' and '.join(gone)}, {found.told}, and shuffling the numbers of each "
        f"example changes nothing: {found.intact.told} before, {found.shuffled.score:.2f} after",
        expected="a loss when they are shuffled",
        cause=Cause.INPUT_DESTROYED,
        confidence=0.95,
        advice=f"Show some {name} examples as the model gets them (plots/inputs.png): each has its "
        "numbers in an order of its own, or is noise. Look for a permutation, a reshape or an "
        "uninitialized buffer in what makes them.",
        source=SOURCE,
    )


@dataclass(frozen=True)
class Structure:
    """What is left of the structure of a split's examples.

    `told` says it in words. `intact` and `shuffled` are the guesses of a classifier from the
    examples, and after the numbers of each are shuffled once more.
    """

    told: str
    intact: Guesses
    shuffled: Guesses

    @property
    def gone(self) -> bool:
        """Whether another shuffling of each example takes nothing away: it has had one already."""
        lost = self.intact.score - self.shuffled.score
        return lost < 0.02 + 3 * max(self.intact.error, self.shuffled.error)


def destroyed(bench: Bench) -> dict[str, Structure]:
    """The splits, of train and val, in which it doesn't matter where in an image a pixel stands."""
    readings, found = bench.once(read), {}
    pairs = {"train": (readings.train, readings.val), "val": (readings.val, readings.train)}
    for name, (reading, other) in pairs.items():
        suspect = _flat if is_image(reading.inputs) else _flatter
        structure = _structure(bench, reading) if suspect(reading, other) else None
        if structure is not None and structure.gone:
            found[name] = structure
    return found


def _flat(reading: Reading, other: Reading) -> bool:  # noqa: ARG001
    """Whether images show no structure at a glance, as hardly any do."""
    return neighbours(standardized(reading.inputs[:GLANCE])) < 2 * NEIGHBOURS


def _flatter(reading: Reading, other: Reading) -> bool:
    """Whether the numbers of rows have nothing to do with each other, but in the other split do."""
    if min(len(reading), len(other)) < FEWEST_ROWS or reading.inputs[0].numel() < 8:
        return False
    return relations(reading.inputs) < EVEN and relations(other.inputs) > 2 * EVEN


def _structure(bench: Bench, reading: Reading) -> Structure | None:
    """None where a look at the pixels shows that there is structure."""
    if len(reading) < FEWEST or reading.constant:
        return None
    inputs = standardized(reading.inputs)
    told = "the numbers of an example are unrelated"
    if is_image(inputs):
        near = neighbours(inputs)
        if near > NEIGHBOURS or evenness(inputs) > EVEN:
            return None
        told = f"neighbouring pixels are unrelated (correlation {near:.2f})"
    values = inputs.flatten(2) if is_image(inputs) else inputs.flatten(1).unsqueeze(1)
    draws = torch.rand(len(values), 1, values.shape[2], generator=generator(bench.seed, "shuffle"))
    shuffled = values.gather(2, draws.argsort(2).expand_as(values)).view_as(inputs)
    intact, again = (
        _guesses(examples, reading.targets, bench.outputs.size, seed=bench.seed)
        for examples in (inputs, shuffled)
    )
    return Structure(told, intact, again)


def relations(inputs: Tensor) -> float:
    """How much the correlations of the numbers `[N, F]` of rows vary, over that of random ones."""
    values = standardized(inputs).flatten(1)[:, :MOST_POSITIONS]
    values = values[:, values.std(0) > 1e-3]
    if values.shape[1] < 3:
        return 0.0
    correlations = (values.T @ values) / len(values)
    apart = ~torch.eye(len(correlations), dtype=torch.bool)
    return float(correlations[apart].var()) * len(values)


def neighbours(inputs: Tensor) -> float:
    """The mean correlation of pixels beside and below each other, within images `[N, C, H, W]`."""
    centred = inputs - inputs.mean((2, 3), keepdim=True)
    scale = centred.square().mean().clamp_min(1e-12)
    beside = (centred[..., 1:] * centred[..., :-1]).mean()
    below = (centred[..., 1:, :] * centred[..., :-1, :]).mean()
    return float((beside + below) / (2 * scale))


def evenness(inputs: Tensor) -> float:
    """How much the means of positions vary, over how much they would if all were alike."""
    positions = inputs.flatten(2)  # [N, C, P]
    centred = positions - positions.mean(2, keepdim=True)
    by_chance = centred.var(0).mean() / len(inputs)
    return float(centred.mean(0).var(1).mean() / by_chance.clamp_min(1e-12))


def partners(inputs: Tensor, targets: Tensor) -> float:
    """How much a position has to do with the likest of the others, over examples of one class.

    The mean over positions of the largest absolute correlation; the means of the classes are taken
    out if `targets: [N]` are classes. In natural images it is high wherever the pixels are put.
    """
    values = standardized(inputs[:MOST_EXAMPLES])[:, 0].flatten(1)[:, :MOST_POSITIONS].clone()
    targets = targets[:MOST_EXAMPLES]
    for label in targets.unique() if targets.ndim == 1 else ():
        values[targets == label] -= values[targets == label].mean(0)
    values = values[:, values.std(0) > 1e-3]
    if values.shape[1] < 2:
        return 0.0
    values = values / values.norm(dim=0)
    return float((values.T @ values).abs_().fill_diagonal_(0).amax(1).mean())


def _guesses(inputs: Tensor, targets: Tensor, size: int, *, seed: int) -> Guesses:
    kernel = Kernel(inputs, seed=seed)
    view = kernel.view(inputs)
    codes = coded(targets, max(size, int(targets.max()) + 1 if targets.ndim == 1 else 0))
    return Guesses(Ridge(kernel(view, view)).left_out(codes), targets)
