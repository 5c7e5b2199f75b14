"""The data stage: look at what the model will see."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from nnrecipe.checks import DataCheck, findings
from nnrecipe.checks.data.baseline import baseline
from nnrecipe.checks.data.readings import read
from nnrecipe.core.findings import StageResult
from nnrecipe.core.seeding import generator
from nnrecipe.core.spec import Spec, members
from nnrecipe.data import Split
from nnrecipe.stages.pictures import INPUTS, are_images, save_sheet, words_of
from nnrecipe.stages.run import Run

SHOWN = ("reference_", "examples_per_output")
"""The figures of a baseline that stand in a table of several tasks."""


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
        found = [finding for check in self.checks for finding in findings(check, run.bench)]
        facts = _facts(run)
        if pictured := _picture_batch(run):
            facts["pictured"] = pictured
        return StageResult.of(self.kind, facts, found)


def _facts(run: Run) -> dict[str, Any]:
    data = run.bench.data
    splits: dict[str, Split | None] = {"train": data.train, "val": data.val, "test": data.test}
    inputs = run.bench.once(read).train.inputs
    return {
        "examples": {name: len(split) for name, split in splits.items() if split is not None},
        "input_shape": list(data.input_shape),
        "classes": list(data.classes),
        "class_counts": list(data.outputs.class_counts),
        "mean": float(inputs.mean()),
        "spread": float(inputs.std()),
        "smallest": float(inputs.min()),
        "largest": float(inputs.max()),
        **_baselines(run),
    }


def _baselines(run: Run) -> dict[str, Any]:
    """What a classifier without training reaches; of several tasks a row each."""
    if not run.bench.tasks:
        return baseline(run.bench)
    return {
        "tasks": {
            name: {
                "outputs": bench.outputs.size,
                **{key: value for key, value in baseline(bench).items() if key.startswith(SHOWN)},
            }
            for name, bench in run.bench.tasks.items()
        }
    }


def _picture_batch(run: Run) -> list[str]:
    """Show 32 training examples, normalised and augmented, in TensorBoard and as a PNG.

    Returns what their targets say; nothing where the inputs aren't images.
    """
    data = run.bench.data
    if not are_images(data.input_shape):
        return []
    batch = next(data.training_batches(32, generator=generator(run.bench.seed, "picture")))
    save_sheet(INPUTS, batch.inputs, run)
    return words_of(batch.targets, data.outputs, data.classes)
