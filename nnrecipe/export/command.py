"""`nnrecipe export`: a trained network as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click
import torch

from nnrecipe.core.errors import UserError
from nnrecipe.export.card import card
from nnrecipe.export.program import write_onnx, write_torch
from nnrecipe.export.weights import write_safetensors
from nnrecipe.recipe.trained import Trained, Which, load_trained
from nnrecipe.report.store import replacing

Form = Literal["torch", "onnx", "safetensors"]
SUFFIXES: Mapping[Form, str] = {"torch": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}
APART = 1e-4
"""A file whose outputs are further from the network's than rounding takes them is not kept."""


def show(folder: Path, *, form: Form, output: Path | None, checkpoint: Which | None) -> None:
    """Write the file, and print where it is and what goes in and out. Raises `UserError`."""
    path = output or folder / f"model{SUFFIXES[form]}"
    if path.suffix != SUFFIXES[form]:  # which is how the file's readers know it
        raise UserError(f"--output {path}: end it in {SUFFIXES[form]}")
    trained = load_trained(
        folder, checkpoint, device=torch.device("cpu"), say=lambda line: click.echo(line, err=True)
    )
    with replacing(path) as temporary:
        apart = _write(trained, form, temporary)
        if apart is not None and not apart < APART:
            raise UserError(
                f"--format {form}: what was recorded is {apart:.2g} off the network: its code "
                "depends on more than its inputs: export the weights (--format safetensors)"
            )
    told = card(trained)
    click.echo(f"exported  {path}")
    if form != "safetensors":
        for name in ("input", "output"):
            click.echo(f"{name:<8}  {_shape(told[name])}")
    if apart is not None:
        click.echo(f"checked   outputs differ from the network's by {apart:.1g} at most")


def _write(trained: Trained, form: Form, path: Path) -> float | None:
    match form:
        case "torch":
            return write_torch(trained, path)
        case "onnx":
            return write_onnx(trained, path)
        case "safetensors":
            write_safetensors(trained, path)
            return None


def _shape(told: Mapping[str, object]) -> str:
    """`inputs [batch, 3, 32, 32] uint8, RGB`."""
    sides = told["shape"]
    assert isinstance(sides, list)
    kind = [str(told[key]) for key in ("dtype", "channels") if key in told]
    return f"{told['name']} [{', '.join(map(str, sides))}] {', '.join(kind)}".rstrip()
