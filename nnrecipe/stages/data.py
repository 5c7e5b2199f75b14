"""The data stage: look at what the model will see."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from nnrecipe.checks import DataCheck
from nnrecipe.core.findings import StageResult
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Spec, members
from nnrecipe.data import Split
from nnrecipe.stages.run import Run


class DataStage(Spec):
    """Statistics, class balance and the checks of the data."""

    source: ClassVar[str] = "lecture: data preprocessing"

    kind: Literal["data"] = "data"
    checks: tuple[DataCheck, ...] = Field(
        tuple(check() for check in members(DataCheck)),
        description="what is checked, in this order",
    )

    def run(self, run: Run) -> StageResult:
        """Check the data, and keep a picture of a training batch as the model sees it."""
        findings = [finding for check in self.checks for finding in check.check(run.bench)]
        _picture_batch(run)
        return StageResult.of(self.kind, _facts(run), findings)


def _facts(run: Run) -> dict[str, Any]:
    data = run.bench.data
    splits: dict[str, Split | None] = {"train": data.train, "val": data.val, "test": data.test}
    inputs = run.bench.sample(data.train, 2000).inputs.float()
    return {
        "examples": {name: len(split) for name, split in splits.items() if split is not None},
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "class_counts": list(data.outputs.class_counts),
        "mean": float(inputs.mean()),
        "spread": float(inputs.std()),
        "smallest": float(inputs.min()),
        "largest": float(inputs.max()),
    }


def _picture_batch(run: Run) -> None:
    """Show 32 training examples, normalised and augmented, in TensorBoard and as a PNG."""
    data = run.bench.data
    if len(data.input_shape) != 3 or data.input_shape[0] not in (1, 3):
        return
    batch = next(data.training_batches(32, generator=generator(run.bench.seed, "picture")))
    sheet = _contact_sheet(batch.inputs.float().cpu())
    run.logbook.image("inputs", sheet)
    path = run.folder / "plots" / "inputs.png"
    path.parent.mkdir(exist_ok=True)
    pixels = (sheet * 255).byte().permute(1, 2, 0).squeeze(2).numpy()
    Image.fromarray(pixels).save(path)


def _contact_sheet(images: Tensor, *, columns: int = 8) -> Tensor:
    """Tile images [N, C, H, W] into one picture [C, rows * H, columns * W], values in 0 ... 1."""
    images = images.nan_to_num()
    low, high = images.min(), images.max()
    images = (images - low) / (high - low).clamp_min(1e-12)
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    blank = torch.zeros(rows * columns - count, channels, height, width)
    grid = torch.cat([images, blank]).view(rows, columns, channels, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
