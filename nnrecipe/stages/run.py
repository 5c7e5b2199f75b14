"""What a stage works with: the bench, the settings of training, and a folder for what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nnrecipe.checks import Bench
from nnrecipe.core.findings import StageResult
from nnrecipe.core.logbook import Logbook
from nnrecipe.core.progress import Progress
from nnrecipe.core.source_lines import OwnCode
from nnrecipe.core.world import ALONE, World
from nnrecipe.regularization import EarlyStopping
from nnrecipe.schedulers import Multiplier, Scheduler
from nnrecipe.stages.kept import Kept
from nnrecipe.training import TrainingSpec
from nnrecipe.training.ensembles import EnsembleSpec, NoEnsemble
from nnrecipe.training.search import AnySearch, NoSearch
from nnrecipe.training.search.trial import TrainJobs
from nnrecipe.training.transfer import TransferSpec


@dataclass(kw_only=True)
class Experiment:
    """What is trained, and how."""

    bench: Bench
    training: TrainingSpec
    scheduler: Scheduler
    early_stopping: EarlyStopping | None
    recipe: dict[str, Any]
    """The resolved recipe in JSON's types, as checkpoints carry it."""
    suggested_rate: float | None = None

    @property
    def learning_rate(self) -> float | None:
        """The recipe's learning rate, or the probe's suggestion where it says `auto`.

        None if it says `auto` and the probe found no rate at which the loss falls.
        """
        return self.bench.learning_rate or self.suggested_rate

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training split."""
        batches = self.bench.data.steps_per_epoch(self.training.batch_size)
        return self.training.steps_per_epoch(batches)

    @property
    def schedule(self) -> Multiplier:
        """The factor on the learning rate, by optimizer step, over the whole training; anew."""
        total = self.steps_per_epoch * self.training.epochs
        return self.scheduler.build(total, steps_per_epoch=self.steps_per_epoch)

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.bench.device


Vary = Callable[[Mapping[str, Any], int], Experiment]
"""`(values, seed)`: the recipe's experiment with other values at config paths, and with a seed.
Raises `UserError` where the config doesn't take them."""


@dataclass(frozen=True)
class SearchTools:
    """What a search works with: `vary` makes a trial's experiment, `train` trains many."""

    vary: Vary
    train: TrainJobs


@dataclass(kw_only=True)
class Run(Experiment):
    """A walk through the recipe. Stages read it, and leave their results and metrics in it.

    `own` is what the user wrote of it, to point at. `kept` is the training to go on with, in a run
    that was cut off in it. `world` are the processes that train together; of the stages only
    `train` runs in all of them. `length_known` says whether `training.epochs` is anybody's plan,
    rather than a default.
    """

    folder: Path
    logbook: Logbook
    progress: Progress
    own: OwnCode = field(default_factory=OwnCode)
    results: list[StageResult] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    ensemble: EnsembleSpec = field(default_factory=NoEnsemble)
    transfer: TransferSpec = field(default_factory=TransferSpec)
    kept: Kept | None = None
    world: World = ALONE
    search: NoSearch | AnySearch = field(default_factory=NoSearch)
    search_tools: SearchTools | None = None
    length_known: bool = True

    @property
    def checkpoints(self) -> Path:
        """The folder of `best.pt` and `last.pt`."""
        return self.folder / "checkpoints"

    def about_model(self) -> dict[str, Any]:
        """What a checkpoint has beside weights: all that using them takes, without the data."""
        data = self.bench.data
        return {
            "preprocessing": data.preprocessing.state_dict(),
            "classes": list(data.classes),
            "input_shape": list(data.input_shape),
            "float_range": None if data.float_range is None else list(data.float_range),
            "task": data.outputs.task,
            "heads": [
                {"name": head.name, "task": head.outputs.task, "names": list(head.names)}
                for head in data.outputs.heads
            ],
            "recipe": self.recipe,
        }

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """The steps after which the train stage keeps a state for the ensemble.

        Raises `UserError` if the ensemble asks for snapshots that the schedule doesn't give.
        """
        return self.ensemble.snapshot_steps(self.schedule, steps_per_epoch=self.steps_per_epoch)

    def snapshot_path(self, number: int) -> Path:
        """The file of a snapshot; the first has number 1."""
        return self.checkpoints / f"snapshot-{number}.pt"

    def member_path(self, number: int) -> Path:
        """The file of an ensemble's member while the others are trained; the first has number 1."""
        return self.checkpoints / f"member-{number}.pt"

    def trial_path(self, number: int) -> Path:
        """The file of a search's trial that is kept for the ensemble; the first has number 1."""
        return self.checkpoints / f"trial-{number}.pt"

    def adopt(self, other: Experiment) -> None:
        """Go on with what another experiment trains, and how."""
        self.bench, self.training, self.recipe = other.bench, other.training, other.recipe
        self.scheduler, self.early_stopping = other.scheduler, other.early_stopping
