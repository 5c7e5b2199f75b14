"""The search that a recipe declares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from nnrecipe.core.seeding import derive_seed
from nnrecipe.core.spec import ByKind, Count, PositiveFloat, Spec
from nnrecipe.training.search.distributions import AnyDistribution, Choice, Distribution, Drawn
from nnrecipe.training.search.engines import Engine, Vectorized

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Space = Mapping[str, AnyDistribution]
"""The distributions by config path."""


class Round(Spec):
    """So many trials of so many epochs."""

    trials: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(
        20, description="settings that are tried"
    )
    epochs: Count = Field(5, description="epochs that each is trained, on a schedule of its own")


class Halving(Spec):
    """Successive halving: after a few epochs only the best of a round are trained further.

    The first rung has `first` epochs; of the trials there the best 1/`factor` go on, to `factor`
    times as many epochs, and so on until the round's epochs are reached.
    """

    source: ClassVar[str] = "Jamieson & Talwalkar 2016, algorithm 1"

    factor: Annotated[int, Field(strict=True, ge=2, le=100)] = Field(
        3, description="of so many trials one goes on"
    )
    first: Count = Field(1, description="epochs before the first choice")

    def rungs(self, epochs: int) -> list[int]:
        """The epochs after which is chosen, and at last those of the round."""
        found, rung = [], self.first
        while rung < epochs:
            found.append(rung)
            rung *= self.factor
        return [*found, epochs]


class NoSearch(Spec):
    """Train what the recipe says, and search for nothing."""

    source: ClassVar[str] = "lecture: hyper-parameter search"

    kind: Literal["none"] = "none"


class SearchKind(Spec):
    """What all searches have: where to look, how often, and with how much of each."""

    kind: str
    space: dict[str, Distribution] = Field(
        min_length=1, description="config paths (optimizer.lr, say), each with its distribution"
    )
    rounds: tuple[Round, ...] = Field(
        (Round(),),
        min_length=1,
        max_length=20,
        description="from coarse to fine: each narrows the ranges around the best of the last",
    )
    seeds: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        1, description="trainings of each trial, with seeds of their own; their mean counts"
    )
    minutes: PositiveFloat | None = Field(
        None, description="start no more trials after this time; null: all of them"
    )
    halving: Halving | None = Field(
        None, description="train only the best of a round to its end; null: all"
    )
    retrain: Annotated[int, Field(strict=True, ge=0, le=100)] = Field(
        3, description="seeds with which the winner is trained over the whole schedule; 0: none"
    )
    engine: Engine = Field(Vectorized(), description="how the trials are computed")

    @property
    def at_once(self) -> int | None:
        """Trials that are drawn before any of them is told its result; None: a round's."""
        return None

    def grid(self, space: Space, trials: int) -> list[dict[str, Drawn]] | None:
        """The settings in their order, where they are not drawn."""
        del space, trials
        return None

    def sampler(self, seed: int, trial: int) -> BaseSampler:
        """What draws the trial of this number: always the same, after the same others."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=derive_seed(seed, "trial", trial))


class RandomSearch(SearchKind):
    """Each trial is drawn by itself: no two have the same value of what matters."""

    source: ClassVar[str] = "lecture: random against grid search; Bergstra & Bengio 2012"

    kind: Literal["random"] = "random"


class GridSearch(SearchKind):
    """All combinations of equally spaced values, as many of each as a round's trials allow."""

    source: ClassVar[str] = "lecture: random against grid search"

    kind: Literal["grid"] = "grid"

    def grid(self, space: Space, trials: int) -> list[dict[str, Drawn]]:
        """At most `trials` combinations; the first path varies slowest."""
        choices = math.prod(len(d.values) for d in space.values() if isinstance(d, Choice))
        ranges = sum(not isinstance(d, Choice) for d in space.values())
        each = math.floor((trials / choices) ** (1 / ranges) + 1e-9) if ranges else 1
        axes: list[Sequence[Drawn]] = [d.grid(max(1, each)) for d in space.values()]
        return [dict(zip(space, values, strict=True)) for values in product(*axes)][:trials]


class TpeSearch(SearchKind):
    """The tree-structured Parzen estimator: draws where the best trials so far are dense."""

    source: ClassVar[str] = "Bergstra et al. 2011, section 4; Optuna's TPESampler"

    kind: Literal["tpe"] = "tpe"
    batch: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        8, description="trials that are drawn, and trained, before their results are looked at"
    )

    @property
    def at_once(self) -> int | None:
        """A batch."""
        return self.batch

    def sampler(self, seed: int, trial: int) -> BaseSampler:
        """Parzen estimators over the finished trials; those in training count as bad ones."""
        from optuna.samplers import TPESampler

        return TPESampler(
            seed=derive_seed(seed, "trial", trial), multivariate=True, constant_liar=True
        )


AnySearch = RandomSearch | GridSearch | TpeSearch
Search = Annotated[NoSearch | RandomSearch | GridSearch | TpeSearch, ByKind(default="none")]
