"""Where configs come from: the schema, the presets, and small runs that change a few sections."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz.mutations import mutated, scratched
from fuzz.schema import SCHEMA, Drawn, recipes
from nnrecipe.recipe.presets import presets

SMALL: dict[str, Any] = {
    "data": {"kind": "digits", "limit": 60},
    "architecture": {"kind": "mlp", "widths": [8]},
    "norm": "batch",
    "training": {"epochs": 1, "batch_size": 20, "threads": 1},
    "stages": [
        "data",
        {"kind": "sanity"},
        {"kind": "overfit", "steps": 5},
        {"kind": "lr_probe", "steps": 2, "per_decade": 1},
        "search",
        "train",
        "ensemble",
        "evaluate",
    ],
    "tracking": "none",
}
"""A recipe that takes a second, on data that comes with a package."""

SPACE = {"optimizer.lr": {"kind": "log_uniform", "low": 1e-3, "high": 0.1}}
ROUNDS = [{"trials": 3, "epochs": 1}]
RUNNABLE = Drawn(
    largest=3,
    without=frozenset({"Ray", "ray", "Processes", "process", "custom", "CustomLoss"}),
    pinned={
        "Digits": {"limit": 60},
        "Mlp": {"widths": [8]},
        "TrainingSpec": {"epochs": 1, "threads": 1, "compile": "off"},
        "RandomSearch": {"space": SPACE, "rounds": ROUNDS, "retrain": 0},
        "TpeSearch": {"space": SPACE, "rounds": ROUNDS, "retrain": 0},
        "OverfitStage": {"steps": 3},
        "LrProbeStage": {"steps": 2, "per_decade": 1},
    },
)
"""What ends in seconds where nothing is wrong: engines that start processes take longer."""

SECTIONS = sorted(
    {*SCHEMA["properties"]} - {"name", "stages", "device", "architecture", "data", "transfer"}
)


@st.composite
def from_schema(draw: Callable[..., Any]) -> bytes:
    """A config that the schema allows key by key, sometimes with bytes changed."""
    text = yaml.safe_dump(draw(recipes()), allow_unicode=True).encode()
    return scratched(draw, text) if draw(st.integers(0, 9)) == 0 else text


@st.composite
def runnable(draw: Callable[..., Any]) -> bytes:
    """`SMALL` with up to four sections set up anew."""
    config = copy.deepcopy(SMALL)
    for name in draw(st.lists(st.sampled_from(SECTIONS), max_size=4, unique=True)):
        config[name] = RUNNABLE.value(draw, SCHEMA["properties"][name])
    if draw(st.booleans()):
        config["data"] |= RUNNABLE.definition(draw, "Digits")
    if draw(st.booleans()):
        config["architecture"] |= RUNNABLE.definition(draw, "Mlp")
    return yaml.safe_dump(config, allow_unicode=True).encode()


def from_presets() -> st.SearchStrategy[bytes]:
    """A preset after something was done to its keys or bytes."""
    return mutated([path.read_text() for path in presets().values()])
