"""A run's diary: `metrics.jsonl` for reports and programs, TensorBoard for eyes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal

from nnrecipe.core.findings import plain
from nnrecipe.core.spec import ByKind, Spec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

METRICS_FILE = "metrics.jsonl"
BOARD_FOLDER = "tensorboard"
SPLITS = ("train", "val")
TASK = "task"
"""How the names of mappings begin that hold a figure of each of several tasks."""

Mark = dict[str, int]
"""How far a diary has come: the sizes of its files in bytes, by their paths in the run folder."""


class TensorBoardTracking(Spec):
    """Event files under `tensorboard/` in the run folder, for `nnrecipe dashboard`."""

    kind: Literal["tensorboard"] = "tensorboard"

    def writer(self, folder: Path) -> SummaryWriter | None:
        """A writer of event files into `folder`, which becomes one run of TensorBoard."""
        with warnings.catch_warnings():  # tensorboard's own imports warn of each other's age
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), flush_secs=5)


class NoTracking(Spec):
    """`metrics.jsonl` alone."""

    kind: Literal["none"] = "none"

    def writer(self, folder: Path) -> SummaryWriter | None:  # noqa: ARG002
        """Nothing."""
        return None


Tracking = Annotated[TensorBoardTracking | NoTracking, ByKind(default="tensorboard")]


class Logbook:
    """Writes what happens during a run into its folder, as it happens.

    Use it as a context manager. Every line of `metrics.jsonl` reaches the disk at once, so a run
    that is killed keeps them all; a resumed run appends.
    """

    def __init__(self, folder: Path, tracking: TensorBoardTracking | NoTracking) -> None:
        self._folder = folder
        self._boards = folder / BOARD_FOLDER
        self._tracking = tracking
        self._writers: dict[str, SummaryWriter | None] = {}
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn_line(folder / METRICS_FILE)
        self._lines = (folder / METRICS_FILE).open("a", buffering=1, encoding="utf-8")

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; the logbook can't be used afterwards."""
        self._lines.close()
        for writer in self._writers.values():
            if writer is not None:
                writer.close()

    def mark(self) -> Mark:
        """How far it is, with all that was written up to now; see `rewind`."""
        self._lines.flush()
        for writer in self._writers.values():
            if writer is not None:
                writer.flush()
        files = _files(self._folder)
        return {file.relative_to(self._folder).as_posix(): file.stat().st_size for file in files}

    def scalars(self, step: int, values: Mapping[str, float | Mapping[str, float]]) -> None:
        """One line of `metrics.jsonl`, and a point in each value's chart.

        `train_loss` and `val_loss` share the chart `loss`; a mapping, `update_ratio` of each layer
        say, gets a chart for each of its items, but one of tasks (`task_loss`) a single chart with
        a curve for each. `epoch` is written, but isn't worth a chart.
        """
        self._lines.write(json.dumps(plain({"step": step, **values}), allow_nan=False) + "\n")
        for name, value in values.items():
            split, _, tag = name.partition("_")
            if isinstance(value, Mapping) and split == TASK:
                self.together(f"tasks/{tag}", step, value)
            elif isinstance(value, Mapping):
                for item, part in value.items():
                    self._point(f"{name}/{item}", part, step)
            elif split in SPLITS and tag:
                self.together(tag, step, {split: value})
            elif name != "epoch":
                self._point(name, value, step)

    def together(self, tag: str, step: int, series: Mapping[str, float]) -> None:
        """A point for each of several series on one chart of TensorBoard.

        TensorBoard draws the same tag of several runs on one axis, so each series is a run in a
        subfolder of its own.
        """
        for name, value in series.items():
            self._point(tag, value, step, run=name)

    def layer(self, tag: str, depth: int, values: Mapping[str, float]) -> None:
        """A point in each value's chart, which runs over the layers instead of over time."""
        for name, value in values.items():
            self._point(f"{tag}/{name}", value, depth)

    def histogram(
        self, tag: str, shares: Sequence[float], *, low: float, high: float, step: int
    ) -> None:
        """A histogram of equal bins between `low` and `high`, given as shares of the whole."""
        if board := self._board():
            count, width = len(shares), (high - low) / len(shares)
            limits = [low + width * (place + 1) for place in range(count)]
            middles = [limit - width / 2 for limit in limits]
            pairs = list(zip(shares, middles, strict=True))
            board.add_histogram_raw(
                tag,
                min=low,
                max=high,
                num=1,
                sum=sum(share * middle for share, middle in pairs),
                sum_squares=sum(share * middle**2 for share, middle in pairs),
                bucket_limits=limits,
                bucket_counts=list(shares),
                global_step=step,
            )

    def trial(
        self,
        number: int,
        *,
        settings: Mapping[str, float | str],
        figure: str,
        curve: Sequence[float],
        score: float | None,
    ) -> None:
        """A search's trial: a row of TensorBoard's HParams page, and a curve over its epochs.

        Each trial is a run of its own, `trials/1` say; `metrics.jsonl` isn't written.
        """
        name = f"trials/{number + 1}"
        board = self._tracking.writer(self._boards / name)
        if board is None:
            return
        found = {} if score is None else {f"search/{figure}": score}
        board.add_hparams(dict(settings), found, run_name=".")
        for epoch, value in enumerate(curve, start=1):
            board.add_scalar(f"search_epochs/{figure}", value, epoch)
        board.close()

    def text(self, tag: str, markdown: str, *, step: int = 0) -> None:
        """A page of Markdown."""
        if board := self._board():
            board.add_text(tag, markdown, step)

    def image(self, tag: str, image: Tensor, *, step: int = 0) -> None:
        """A picture, `image: [C, H, W]`, float in 0 ... 1 or uint8."""
        if board := self._board():
            board.add_image(tag, image, step)

    def _point(self, tag: str, value: float, step: int, *, run: str = "") -> None:
        if board := self._board(run):
            board.add_scalar(tag, value, step)

    def _board(self, run: str = "") -> SummaryWriter | None:
        if run not in self._writers:
            self._writers[run] = self._tracking.writer(self._boards / run)
        return self._writers[run]


def rewind(folder: Path, mark: Mark) -> None:
    """Take back what a diary that nobody has open says beyond the mark."""
    for file in _files(folder):
        size = mark.get(file.relative_to(folder).as_posix())
        if size is None:
            file.unlink()
        elif file.stat().st_size > size:
            os.truncate(file, size)


def _files(folder: Path) -> list[Path]:
    """The files of the diary in a run folder."""
    boards = [file for file in sorted((folder / BOARD_FOLDER).rglob("*")) if file.is_file()]
    lines = folder / METRICS_FILE
    return [lines, *boards] if lines.is_file() else boards


def drop_torn_line(path: Path) -> None:
    """Cut off a last line without its end, which a killed run leaves behind."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
