"""Pictures of examples: tiled into one, kept as a PNG and shown in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.core.shapes import InputShape, OutputSpec, SingleTask
from nnrecipe.stages.run import Run

INPUTS = "inputs"
"""The file in `plots/` of what the network sees, without its ending."""
LONGEST_SIDE = 96
"""Larger images are shown smaller, so that a report stays one that can be mailed."""
COLUMNS = 8
"""How many images stand in a row of a contact sheet."""


def are_images(shape: InputShape) -> bool:
    """Whether inputs of this shape are grey or coloured images `(C, H, W)`."""
    return len(shape) == 3 and shape[0] in (1, 3)


def save_sheet(name: str, images: Tensor, run: Run) -> None:
    """Show images [N, C, H, W] tiled in TensorBoard, and keep them as `plots/<name>.png`."""
    sheet = contact_sheet(shrink(images.float().cpu(), longest=LONGEST_SIDE))
    run.logbook.image(name, sheet)
    path = run.folder / "plots" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    pixels = (sheet * 255).byte().permute(1, 2, 0).squeeze(2).numpy()
    Image.fromarray(pixels).save(path)


def words_of(targets: Tensor, outputs: OutputSpec, names: Sequence[str]) -> list[str]:
    """What each target says, in words: its class, its labels, or its values; of several tasks all.

    `names` are those of the outputs.
    """
    if outputs.task != "several":
        return [_words(target, outputs.task, names) for target in targets.tolist()]
    each = [words_of(head.of_targets(targets), head.outputs, head.names) for head in outputs.heads]
    return ["; ".join(parts) for parts in zip(*each, strict=True)]


def _words(target: Any, task: SingleTask, names: Sequence[str]) -> str:
    match task:
        case "single_label":
            return str(names[target])
        case "multi_label":
            said = [name for name, is_true in zip(names, target, strict=True) if is_true > 0.5]
            return ", ".join(said) or "none"
        case "regression":
            return ", ".join(f"{value:.4g}" for value in target)


def contact_sheet(images: Tensor, *, columns: int = COLUMNS) -> Tensor:
    """Tile images [N, C, H, W] into one picture [C, rows * H, columns * W], values in 0 ... 1."""
    images = images.nan_to_num()
    low, high = images.min(), images.max()
    images = (images - low) / (high - low).clamp_min(1e-12)
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    blank = torch.zeros(rows * columns - count, channels, height, width)
    grid = torch.cat([images, blank]).view(rows, columns, channels, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def shrink(images: Tensor, *, longest: int) -> Tensor:
    """Images [N, C, H, W] of which neither side is longer than `longest` pixels."""
    height, width = images.shape[2:]
    scale = longest / max(height, width)
    if scale >= 1:
        return images
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(images, size, mode="bilinear", antialias=True)
