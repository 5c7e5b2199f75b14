"""Makes a trial's experiment out of the recipe that is searched."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from nnrecipe.data import DataBundle
from nnrecipe.recipe import Recipe
from nnrecipe.recipe.bench import make_bench
from nnrecipe.recipe.substitution import substituted
from nnrecipe.stages.run import Experiment


@dataclass(frozen=True)
class Variants:
    """Makes experiments of one recipe; they share its `data` unless their values change that."""

    recipe: Recipe
    data: DataBundle
    device: str

    def __call__(self, values: Mapping[str, Any], seed: int) -> Experiment:
        """The experiment with these values and this seed; see `Vary`.

        The data are split and prepared by the recipe's own seed: trials are compared on the same.
        """
        trial = substituted(self.recipe, values)
        data = self.data
        if trial.data != self.recipe.data:
            workers = self.recipe.training.workers
            data = trial.data.build(
                device=torch.device(self.device), seed=self.recipe.seed, workers=workers
            )
        seeded = trial.model_copy(update={"seed": seed})
        whole = seeded.model_copy(
            update={"search": self.recipe.search, "ensemble": self.recipe.ensemble}
        )
        return Experiment(
            bench=make_bench(seeded, data, device=torch.device(self.device)),
            training=seeded.training,
            scheduler=seeded.scheduler,
            early_stopping=seeded.regularization.early_stopping,
            recipe=whole.model_dump(mode="json"),
        )


@dataclass(frozen=True)
class Order:
    """What a worker needs to make the experiments by itself; it can be sent to other processes."""

    recipe: str
    device: str
    paths: tuple[str, ...]

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> Self:
        """The order of a recipe, with the folders in which this process looks for modules."""
        return cls(recipe.model_dump_json(exclude_unset=True), device, tuple(sys.path))

    def variants(self) -> Variants:
        """Load the data, and be ready to make experiments."""
        sys.path[:] = dict.fromkeys([*sys.path, *self.paths])
        recipe = Recipe.model_validate_json(self.recipe)
        data = recipe.data.build(
            device=torch.device(self.device), seed=recipe.seed, workers=recipe.training.workers
        )
        return Variants(recipe, data, self.device)
