"""What an exported file says of itself."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from typing import Any

from nnrecipe.recipe.trained import Trained

CARD = "nnrecipe.json"
"""The entry of a file that holds the card."""
INPUTS = "inputs"


def output_name(trained: Trained) -> str:
    """What the numbers are that come out."""
    if trained.task == "several":
        return "outputs"
    return "values" if trained.task == "regression" else "probabilities"


def card(trained: Trained) -> dict[str, Any]:
    """Names, what goes in and what comes out, in JSON's types.

    `resize` says how training brought images to their size: without keeping their proportions.
    """
    recipe, shape = trained.recipe, list(trained.input_shape)
    wanted: dict[str, Any] = {"name": INPUTS, "shape": ["batch", *shape]}
    if trained.float_range is None:
        wanted |= {"dtype": "uint8", "range": [0, 255]}
    else:
        wanted |= {"dtype": "float32", "range": "as your Dataset gives them"}
    if len(shape) == 3:
        channels = {1: "L", 3: "RGB"}.get(shape[0], f"{shape[0]} channels")
        wanted |= {"channels": channels, "resize": "bilinear, antialiased"}
    tasks = [
        {"name": head.name, "task": head.outputs.task, "classes": list(head.names)}
        for head in trained.heads
    ]
    return {
        "nnrecipe": version("nnrecipe"),
        "name": recipe.name,
        "task": trained.task,
        **({"tasks": tasks} if tasks else {}),
        "classes": list(trained.names),
        "input": wanted,
        "output": {"name": output_name(trained), "shape": ["batch", len(trained.names)]},
        "checkpoint": trained.path.name,
        "epoch": trained.epoch,
        "figures": {name: v for name, v in trained.figures.items() if math.isfinite(v)},
    }


def card_text(trained: Trained, **more: Any) -> str:
    """The card as JSON, with `more` entries."""
    return json.dumps(card(trained) | more)
