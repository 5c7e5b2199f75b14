"""The worst mistakes on a split as facts for the report, and as a contact sheet of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nnrecipe.core.shapes import Task
from nnrecipe.data import DataBundle, Split
from nnrecipe.stages.pictures import are_images, save_sheet
from nnrecipe.stages.run import Run
from nnrecipe.training.mistakes import Mistake

SHEET = "mistakes"
"""The file in `plots/` without its ending; its images are in the order of the facts."""
MOST_FEATURES = 12
"""Inputs of up to this many figures are written down beside the mistake."""


def mistake_facts(
    mistakes: Sequence[Mistake], split: Split, data: DataBundle, run: Run
) -> list[dict[str, Any]]:
    """A row for each mistake; where the inputs are images these are saved, in the same order.

    Of several tasks the mistakes are those of the first.
    """
    if not mistakes:
        return []
    if data.outputs.heads:
        data = data.of(data.outputs.heads[0])
    rows = [_row(mistake, data.outputs.task, data.classes) for mistake in mistakes]
    raw = split.examples(torch.tensor([mistake.example for mistake in mistakes])).inputs
    if are_images(data.input_shape):
        save_sheet(SHEET, data.preprocessing.pixels(raw), run)
    elif raw[0].numel() <= MOST_FEATURES:
        for row, features in zip(rows, raw.flatten(1).tolist(), strict=True):
            row["input"] = features
    return rows


def _row(mistake: Mistake, task: Task, names: Sequence[str]) -> dict[str, Any]:
    example = {"example": mistake.example}
    sure = {"probability": mistake.probability}
    match task:
        case "single_label":
            said, true = (_name(int(number), names) for number in (mistake.said, mistake.true))
            return {**example, "predicted": said, "true": true, **sure}
        case "multi_label":
            label = {"label": _name(mistake.output, names)}
            answers = {"predicted": bool(mistake.said), "true": mistake.true > 0.5}
            return {**example, **label, **answers, **sure}
        case "regression":
            value = {"value": _name(mistake.output, names)}
            return {**example, **value, "predicted": mistake.said, "true": mistake.true}
        case "several":
            raise AssertionError("a task is one")


def _name(number: int, names: Sequence[str]) -> str:
    """The output's name; its number where the model has more outputs than there are names."""
    return names[number] if number < len(names) else str(number)
