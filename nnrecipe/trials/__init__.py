"""What trains the trials of a search: here as replicas, in processes, or in Ray's workers."""

from __future__ import annotations

from typing import assert_never

from nnrecipe.core.progress import Progress
from nnrecipe.data import DataBundle
from nnrecipe.recipe import Recipe
from nnrecipe.stages.run import SearchTools
from nnrecipe.training.search import NoSearch
from nnrecipe.training.search.engines import Processes, Ray, Vectorized
from nnrecipe.training.search.trial import TrainJobs
from nnrecipe.trials.cluster import RayWorkers
from nnrecipe.trials.local import Replicas
from nnrecipe.trials.processes import ProcessWorkers
from nnrecipe.trials.variants import Order, Variants

__all__ = ["search_tools"]


def search_tools(
    recipe: Recipe, data: DataBundle, *, device: str, threads: int, progress: Progress
) -> SearchTools | None:
    """What the recipe's search works with, on so many threads in all; None if it has none."""
    if isinstance(recipe.search, NoSearch):
        return None
    variants, order = Variants(recipe, data, device), Order.of(recipe, device)
    train: TrainJobs
    match recipe.search.engine:
        case Vectorized():
            train = Replicas(variants, cores=threads, progress=progress)
        case Processes() as engine:
            train = ProcessWorkers(order, workers=engine.workers, threads=threads)
        case Ray() as engine:
            train = RayWorkers(order, engine, threads=threads)
        case unknown:
            assert_never(unknown)
    return SearchTools(vary=variants, train=train)
