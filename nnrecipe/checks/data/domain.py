"""Whether training and another split can be told apart, and by what."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.kernel import Kernel, Ridge, is_image
from nnrecipe.checks.data.readings import Reading, read

MOST, FEWEST = 500, 60
"""Examples of each split that are compared."""
ALIKE = 0.75
"""The area under the ROC curve below which two splits show the same kind of inputs."""
LEVELS = torch.linspace(0.01, 0.99, 99)
MEAN_SHIFT, SPREAD_RATIO = 0.25, 1.25
"""How the values of a channel may differ between splits: means in spreads, and spreads."""
RARE = 0.1
"""The share of a number's values that are other than the usual one, below which it isn't judged."""


@dataclass(frozen=True)
class Channel:
    """How the values of another split lie to those of the training split, in one channel.

    Moments are those between the quantiles of 1 % and 99 %, which outliers don't move. `shift` is
    the difference of the means in the larger spread, `factor` by how much the larger spread exceeds
    the smaller, and `misfit` 1 - R2 of a line through the quantiles of one over those of the other.
    `error` is the standard error of the shift, `noise` about that of the factor.
    """

    shift: float
    factor: float
    misfit: float
    error: float
    noise: float

    def differs(self, *, slack: float = 1.0) -> bool:
        """Whether they differ by more than they may, times the slack, and more than by chance."""
        moved = abs(self.shift) > slack * MEAN_SHIFT + 4 * self.error
        return moved or self.factor > 1 + slack * (SPREAD_RATIO - 1) + 4 * self.noise

    @property
    def distance(self) -> float:
        """How far apart they are, for comparing channels."""
        return abs(self.shift) + math.log(self.factor)


def apart(bench: Bench) -> float:
    """How well validation can be told from training, beyond affine maps: 0.5 not at all, 1 always.

    As many examples of each class are compared. 0.5 where there are too few.
    """
    readings = bench.once(read)
    train, val = matched(readings.train, readings.val)
    if len(train) < FEWEST:
        return 0.5
    return told_apart(Kernel(train.inputs, seed=bench.seed), train.inputs, val.inputs)


def differing(bench: Bench, name: str) -> list[Channel]:
    """The channels in which a split differs from training, as many examples of each class."""
    readings = bench.once(read)
    # Random augmentation moves the moments as well, if not by much.
    slack = 2.0 if readings.random else 1.0
    pair = matched(readings.train, readings.others()[name])
    return [channel for channel in channels(*pair) if channel.differs(slack=slack)]


def matched(train: Reading, other: Reading) -> tuple[Reading, Reading]:
    """As many examples of the one as of the other, and of every class as many."""
    if train.targets.ndim > 1:
        count = min(len(train), len(other), MOST)
        return train.first(count), other.first(count)
    size = 1 + max(int(train.targets.max()), int(other.targets.max()))
    places: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in range(size):
        found = [(r.targets == label).nonzero().flatten() for r in (train, other)]
        count = min(len(found[0]), len(found[1]))
        for kept, here in zip(places, found, strict=True):
            kept.append(here[:count])
    one, two = (torch.cat(kept) for kept in places)
    order = torch.randperm(len(one), generator=torch.Generator().manual_seed(0))[:MOST]
    return train.at(one[order]), other.at(two[order])


def told_apart(kernel: Kernel, first: Tensor, second: Tensor) -> float:
    """The area under the ROC curve of a classifier that tells the two sets `[N, ...]` apart.

    Each set is standardized by itself, so this is what remains beyond affine maps of the values.
    0.5 if they can't be told apart, 1 if always.
    """
    views = kernel.view(first), kernel.view(second)
    across = kernel(views[0], views[1])
    rows = [
        torch.cat([kernel(views[0], views[0]), across], dim=1),
        torch.cat([across.T, kernel(views[1], views[1])], dim=1),
    ]
    sides = torch.cat([torch.zeros(len(first)), torch.ones(len(second))])
    scores = Ridge(torch.cat(rows)).left_out(sides.unsqueeze(1)).flatten()
    return _area(scores, sides)


def channels(train: Reading, other: Reading) -> list[Channel]:
    """Each channel of images, each number of other examples, of one split against another."""
    one, two = _by_channel(train.inputs), _by_channel(other.inputs)
    return [_channel(x, y) for x, y in zip(one, two, strict=True)]


def _by_channel(inputs: Tensor) -> Tensor:
    """`[C, N, P]`: the values of each channel in each example."""
    if is_image(inputs):
        return inputs.flatten(2).transpose(0, 1)
    return inputs.flatten(1).T.unsqueeze(2)


def _channel(train: Tensor, other: Tensor) -> Channel:
    """Of one channel: `[N, P]` values in training, `[M, P]` in the other split."""
    if train.shape[1] == 1 and _is_rare(torch.cat([train, other])):
        return Channel(shift=0.0, factor=1.0, misfit=0.0, error=0.0, noise=0.0)
    x, y = (_quantiles(values) for values in (train, other))
    smaller, larger = sorted((max(float(x.std()), 1e-12), max(float(y.std()), 1e-12)))
    examples = [
        values.nan_to_num().mean(1).sub(center.mean()).clamp(-3 * larger, 3 * larger)
        for values, center in ((train, x), (other, y))
    ]
    # A number that is nearly always the same has no spread to compare.
    moves = smaller > 1e-6 * larger
    correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1]) if moves else 0.0
    spread = float(torch.cat(examples).std()) / larger
    sizes = 1 / len(train) + 1 / len(other)
    error = spread * math.sqrt(sizes)
    return Channel(
        shift=float(y.mean() - x.mean()) / larger,
        factor=larger / smaller if moves else 1.0,
        misfit=1 - correlation**2,
        error=error,
        # One number an example tells less of the spread than an image.
        noise=max(2 * error, _noise(torch.cat([x, y]), sizes)) if train.shape[1] == 1 else error,
    )


def _is_rare(values: Tensor) -> bool:
    """Whether values are rarely other than the usual one, as those of a word that few texts have.

    What lies between their quantiles is a matter of chance then.
    """
    return float((values != values.median()).float().mean()) < RARE


def _noise(values: Tensor, sizes: float) -> float:
    """The standard error of the ratio of two spreads, by the kurtosis of what both are made of.

    sqrt((kurtosis - 1) / 4 (1/n + 1/m)): large for a long tail, or for a number that is rarely
    other than 0.
    """
    squares = (values - values.mean()).square()
    kurtosis = float(squares.square().mean() / squares.mean().square().clamp_min(1e-300))
    return math.sqrt(max(kurtosis - 1, 0.0) / 4 * sizes)


def _quantiles(values: Tensor) -> Tensor:
    known = values[values.isfinite()]
    if not len(known):
        return torch.zeros(len(LEVELS))
    # torch.quantile takes at most 16 million values, and a tenth of that is plenty
    return torch.quantile(known[:: len(known) // 200_000 + 1], LEVELS)


def _area(scores: Tensor, sides: Tensor) -> float:
    """The share of pairs, one of each side, that the scores put in the right order."""
    ranks = torch.empty_like(scores)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
    ones = int(sides.sum())
    zeros = len(sides) - ones
    return float(ranks[sides == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)


def undone_by(kernel: Kernel, train: Tensor, other: Tensor) -> tuple[str, float]:
    """The change of the other split's images after which it is least told apart, and how much."""
    square = other.shape[2] == other.shape[3]
    areas = {
        name: told_apart(kernel, train, change(other))
        for name, change in CHANGES.items()
        if (square or name not in TRANSPOSING) and (other.shape[1] > 1 or name != REVERSED)
    }
    return min(areas.items(), key=lambda item: item[1])


REVERSED = "with the channels in reverse order"
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "negated": lambda images: -images,
    REVERSED: lambda images: images.flip(1),
    "turned by 90 degrees": lambda images: images.rot90(1, (2, 3)),
    "turned by 180 degrees": lambda images: images.rot90(2, (2, 3)),
    "turned by 270 degrees": lambda images: images.rot90(3, (2, 3)),
    "with rows and columns exchanged": lambda images: images.transpose(2, 3),
    "upside down": lambda images: images.flip(2),
    "mirrored": lambda images: images.flip(3),
}
"""What may have been done to the images `[N, C, H, W]` of one split and not to the other's."""
TRANSPOSING = frozenset(name for name in CHANGES if "90" in name or "270" in name or "rows" in name)
