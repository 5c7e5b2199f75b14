"""The weights alone, in a file that any language reads and that can't hold code."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.export.card import CARD, card_text
from nnrecipe.recipe.trained import Trained


def tensors(trained: Trained) -> dict[str, Tensor]:
    """`network.*` (of an ensemble `network.members.0.*`, ...) and `preprocessing.*`."""
    found = {f"network.{name}": tensor for name, tensor in trained.network.state_dict().items()}
    state = trained.preprocessing.state_dict()
    found |= {f"preprocessing.{name}": t for name, t in state.items() if t.numel()}
    # Weights that are tied would be one tensor, which the format doesn't have.
    return {name: tensor.clone().contiguous() for name, tensor in found.items()}


def write_safetensors(trained: Trained, path: Path) -> None:
    """Write weights, preprocessing and card. Raises `UserError` if the extra isn't installed."""
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        remedy = 'pip install "nnrecipe[safetensors]"'
        raise UserError(f"--format safetensors: it is not installed: {remedy}") from error
    text = card_text(
        trained,
        architecture=trained.recipe.architecture.model_dump(mode="json"),
        norm=trained.recipe.norm.model_dump(mode="json"),
        preprocessing=_formula(trained),
    )
    save_file(tensors(trained), path, metadata={"format": "pt", CARD: text})
    path.chmod(0o644)  # it keeps its files to the owner


def _formula(trained: Trained) -> str:
    """What is done to raw examples x, in the names of the file's tensors."""
    scaled = "x / unit" if trained.float_range is None else "x"
    normalized = f"({scaled} - mean) / std"
    white = trained.preprocessing.whitening.numel()
    return f"({normalized}, flattened) @ whitening" if white else normalized
