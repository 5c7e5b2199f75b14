"""nnrecipe's own training, as the train stage sets it up: monitors and TensorBoard by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from bench.subject import MOMENTUM, VALIDATED, Clock, Trained, Work
from nnrecipe.core.logbook import Logbook
from nnrecipe.core.progress import Silence
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.data import DataBundle
from nnrecipe.data.source import Images
from nnrecipe.data.spec import Splits
from nnrecipe.recipe import load
from nnrecipe.recipe.bench import make_bench
from nnrecipe.recipe.model import Recipe
from nnrecipe.training.fit import EpochRecord, fit


class Stopwatch(Silence):
    """Stops a clock at the last step, before the epoch's validation."""

    def __init__(self, clock: Clock, *, steps: int) -> None:
        self.clock, self.left = clock, steps

    def advance(self, amount: int = 1, *, note: str = "") -> None:  # noqa: ARG002
        """See `Progress.advance`."""
        self.left -= amount
        if self.left == 0:
            self.clock.__exit__()


def nnrecipe(work: Work, *, precision: str) -> Callable[[], Trained]:
    """Train in a precision of the recipe's. Raises `UserError` for one that it doesn't know.

    Left out, as of all contenders, are start-up, validation and checkpoints; the logbook's files
    are open before the clock starts. What a sample of the monitors costs, and writing it, counts.
    """
    recipe = load(work.subject.preset, overrides=_overrides(work, precision)).recipe
    data = _data(recipe, work)
    bench, training = make_bench(recipe, data, device=work.device), recipe.training
    assert data.steps_per_epoch(training.batch_size) == work.steps, "all train equally long"

    def train() -> Trained:
        setup = bench.setup(
            bench.make_model(),
            lr=work.subject.lr,
            schedule=recipe.scheduler.build(work.steps, steps_per_epoch=work.steps),
            accumulate=training.accumulate,
            monitor_every=training.monitor_every,
        )
        average = training.average.build(setup.model, epochs=training.epochs)
        clock = Clock(work.device)
        with (
            TemporaryDirectory() as folder,
            isolated_rng(bench.seed, "train"),
            Logbook(Path(folder), recipe.tracking) as logbook,
        ):
            logbook.scalars(0, {"lr": work.subject.lr, "train_loss": 0.0, "val_loss": 0.0})
            watch = Stopwatch(clock, steps=work.steps)
            clock.__enter__()
            for record in fit(
                setup, data, training, average=average, seed=bench.seed, progress=watch
            ):
                with clock:
                    _log(logbook, record)
                    logbook.close()
        assert watch.left == 0, "no training may end early"
        return Trained(clock.wall, clock.process, average.model, prepare)

    def prepare(pixels: Tensor) -> Tensor:
        prepared: Tensor = data.preprocessing(pixels)
        return prepared

    return train


def _overrides(work: Work, precision: str) -> list[str]:
    subject = work.subject
    optimizer = f"kind: sgd, lr: {subject.lr}, momentum: {MOMENTUM}"
    augment = f"[{{kind: random_crop, padding: {subject.padding}}}, horizontal_flip]"
    return [
        f"optimizer={{{optimizer}, weight_decay: {subject.weight_decay}}}",
        "~scheduler",
        "training.epochs=1",
        f"training.batch_size={subject.batch_size}",
        f"data.augment={augment if subject.padding else '[]'}",
        f"data.limit={len(work.labels)}",
        f"device={work.device.type}",
        f"precision={precision}",
        *subject.overrides,
    ]


def _data(recipe: Recipe, work: Work) -> DataBundle:
    """As the recipe reads it; made-up pictures in a recipe's place go the rest of the way."""
    if work.real:
        data = recipe.data.build(device=work.device, seed=recipe.seed)
        return replace(data, test=None)
    images = Images(work.pixels, work.labels)
    few = Images(work.pixels[:VALIDATED], work.labels[:VALIDATED])
    splits = Splits(
        train=images.whole(device=work.device),
        val=few.whole(device=work.device),
        test=None,
        classes=tuple("abcdefghij"),
    )
    return recipe.data.bundle(splits, device=work.device)


def _log(logbook: Logbook, record: EpochRecord) -> None:
    """What the train stage writes."""
    for step, reading in record.monitored.items():
        logbook.scalars(step, reading.figures())
    logbook.scalars(record.step, {"epoch": record.epoch, **record.figures()})
