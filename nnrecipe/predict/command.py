"""`nnrecipe predict`: images in, a line for each out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from nnrecipe.core.device import DeviceName, evaluation_batch, pick_device
from nnrecipe.core.errors import UserError
from nnrecipe.predict.answers import FORMS, Answers, Form, Layout
from nnrecipe.predict.files import find_images
from nnrecipe.predict.reading import Portion, Reading, read_ahead
from nnrecipe.recipe.bench import precision_of
from nnrecipe.recipe.trained import Which, load_trained
from nnrecipe.report.store import replacing
from nnrecipe.report.wording import clean, printable
from nnrecipe.training.predictor import Predictor


@dataclass(frozen=True)
class Settings:
    """What the command's options say; None leaves a choice to the run and the machine."""

    checkpoint: Which | None = None
    top: int | None = None
    form: Form | None = None
    output: Path | None = None
    batch_size: int | None = None
    device: DeviceName = "auto"
    workers: int | None = None

    @property
    def written_as(self) -> Form:
        """As asked for, or as the output's name says."""
        suffixes: dict[str, Form] = {".csv": "csv", ".json": "json"}
        named = "" if self.output is None else self.output.suffix.lower()
        return self.form or suffixes.get(named, "table")


@dataclass
class Tally:
    """How many images there were, and how many of them could not be read."""

    images: int = 0
    broken: int = 0


def show(folder: Path, images: Sequence[str], settings: Settings) -> int:
    """Predict for all images, and return the exit code: 1 if one of them couldn't be read.

    Raises `UserError`.
    """
    device = pick_device(settings.device)
    paths = find_images(images)
    trained = load_trained(folder, settings.checkpoint, device=device, say=_say)
    layout, reading = Layout.of(trained, settings.top), Reading.of(trained)
    portions = read_ahead(
        paths,
        reading,
        size=settings.batch_size or evaluation_batch(device),
        workers=settings.workers,
        pin=device.type == "cuda",
    )
    predictor = trained.predictor(precision_of(trained.recipe, device))
    tally = Tally()
    answers = answer(predictor, portions, layout, device=device, tally=tally)
    with _opened(settings.output) as write:
        for piece in FORMS[settings.written_as](answers, layout):
            write(piece)
    if tally.broken:
        _say(f"{tally.broken:,} of {tally.images:,} images could not be read")
    return 1 if tally.broken else 0


@torch.inference_mode()
def answer(
    predictor: Predictor,
    portions: Iterable[Portion],
    layout: Layout,
    *,
    device: torch.device,
    tally: Tally,
) -> Answers:
    """What the network says of each portion; images that can't be read are told as they come.

    Raises `UserError` if a portion doesn't fit in memory, or what comes out isn't finite.
    """
    for paths, images, broken in portions:
        tally.images += len(paths) + len(broken)
        tally.broken += len(broken)
        for path, reason in broken:
            _say(f"{printable(path)}: can't be read: {clean(reason)}")
        if not paths:
            continue
        try:
            made = predictor(images.to(device, non_blocking=True)).cpu()
        except torch.OutOfMemoryError as error:
            raise UserError(f"--batch-size {len(images)}: out of memory: lower it") from error
        if not made.isfinite().all():
            raise UserError("the network's outputs are not finite: see the run's report")
        yield list(zip(paths, layout.said(made), strict=True))


def _say(line: str) -> None:
    click.echo(line, err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[str], object]]:
    """Where to write: the terminal, or a file that is there when all of it is."""
    if output is None:
        yield lambda text: click.echo(text, nl=False)
        return
    with (
        replacing(output) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file.write
