"""From coarse to fine: the next round's ranges, around the best trials of the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nnrecipe.training.search.distributions import AnyDistribution, Choice, Drawn, Numeric
from nnrecipe.training.search.kinds import Space

SHARE, LEAST = 0.1, 3
"""The best trials: this share of a round, and at least so many."""
MARGIN = 0.1
"""What a range gets beyond the best trials at either end, as a share of its old width."""
NARROWEST = 0.15
"""The narrowest range, as a share of its old width: a few trials may lie close by chance."""
EDGE = 0.1
"""How near to an end, as a share of the range, the best trial lies on the boundary."""
BEYOND = 0.25
"""How far a range grows beyond a boundary, as a share of its old width."""

Admits = Callable[[str, AnyDistribution], bool]
"""Whether the config takes both ends of a distribution at a path."""


@dataclass(frozen=True)
class Ranked:
    """A trial's drawn values, and its score, of which more is better."""

    values: Mapping[str, Drawn]
    score: float


@dataclass(frozen=True)
class Change:
    """How a path's distribution changed after a round, and whether it grew at an end."""

    path: str
    before: AnyDistribution
    after: AnyDistribution
    widened: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """What there is to say of its ends."""
        found = []
        if self.widened:
            found.append(f"wider at the {' and the '.join(self.widened)}: the best lies there")
        if self.held:
            ends = " and the ".join(self.held)
            found.append(f"the best lies at the {ends}, beyond which the config takes no value")
        return "; ".join(found)

    def facts(self) -> dict[str, str]:
        """As a row of a table."""
        return {
            "setting": self.path,
            "before": _shown(self.before),
            "after": _shown(self.after),
            "remark": self.remark,
        }

    def text(self) -> str:
        """In a line."""
        told = f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"
        return f"{told}, {self.remark}" if self.remark else told


def next_space(space: Space, trials: Sequence[Ranked], admits: Admits) -> list[Change]:
    """The distributions of the next round, from the scored trials of this one.

    Ranges shrink to the span of the best trials, on the scale on which they are drawn, and grow
    where the best of all lies on their boundary. Of choices those stay that are among the best.
    """
    if not trials:
        return [Change(path, before, before) for path, before in space.items()]
    ordered = sorted(trials, key=lambda trial: trial.score, reverse=True)
    best = ordered[: max(LEAST, math.ceil(SHARE * len(ordered)))]
    return [_changed(path, before, best, admits) for path, before in space.items()]


def _changed(path: str, before: AnyDistribution, best: Sequence[Ranked], admits: Admits) -> Change:
    values = [trial.values[path] for trial in best]
    if isinstance(before, Choice):
        return Change(path, before, before.among([str(value) for value in values]))
    places = [before.position(float(value)) for value in values]
    low, high = _span(places)
    ends = {"low": low, "high": high}
    edges = {"low": places[0] < EDGE, "high": places[0] > 1 - EDGE}
    beyond = {"low": min(low, -BEYOND), "high": max(high, 1 + BEYOND)}
    widened, held = [], []
    for name in ("low", "high"):
        if not edges[name]:
            continue
        tried = ends | {name: beyond[name]}
        if _is_range(before, tried) and admits(path, _between(before, tried)):
            ends = tried
            widened.append(f"{name} end")
        else:
            ends[name] = 0.0 if name == "low" else 1.0
            held.append(f"{name} end")
    return Change(path, before, _between(before, ends), tuple(widened), tuple(held))


def _span(places: Sequence[float]) -> tuple[float, float]:
    """The ends around the places, with a margin, within 0 ... 1; not narrower than it may be."""
    low, high = min(places) - MARGIN, max(places) + MARGIN
    lack = NARROWEST - (high - low)
    if lack > 0:
        low, high = low - lack / 2, high + lack / 2
    return max(0.0, low), min(1.0, high)


def _is_range(before: Numeric, ends: Mapping[str, float]) -> bool:
    """Whether the ends are numbers at all: an exponent may be out of bounds."""
    try:
        low, high = before.at(ends["low"]), before.at(ends["high"])
    except OverflowError:
        return False
    return math.isfinite(low) and math.isfinite(high)


def _between(before: Numeric, ends: Mapping[str, float]) -> Numeric:
    return before.between(before.at(ends["low"]), before.at(ends["high"]))


def _shown(distribution: AnyDistribution) -> str:
    if isinstance(distribution, Choice):
        return f"[{', '.join(map(distribution.text, distribution.texts))}]"
    low, high = distribution.ends
    return f"{low:.3g} ... {high:.3g}"
