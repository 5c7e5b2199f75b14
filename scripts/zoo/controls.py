"""Sound recipes that the faults are seeded into, each trained once for all of its faults."""

from __future__ import annotations

from typing import Any

from zoo.case import Case, Config, merged


def data(function: str, **args: Any) -> Config:
    """A section `data` with a callable of the user's."""
    return {"kind": "custom", "target": f"zoo.{function}", "args": args, "classes": 10}


def module(function: str, **args: Any) -> Config:
    """A section `architecture` with a callable of the user's."""
    return {"kind": "custom", "target": f"zoo.{function}", "args": args}


def loss(function: str) -> Config:
    """A section `loss` with a callable of the user's."""
    return {"kind": "custom", "target": f"zoo.faulty_training:{function}"}


FLOATS = data("pictures:tensors")
PIXELS = data("pictures:raw") | {"normalize": "standardize"}
ADAM = {"kind": "adam", "lr": 0.001}

CONTROLS: dict[str, Config] = {
    # built of nnrecipe's own parts
    "mlp": {
        "data": FLOATS,
        "architecture": {"kind": "mlp", "widths": [128, 64]},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 12, "batch_size": 64},
    },
    "mlp-adam": {
        "data": PIXELS,
        "architecture": {"kind": "mlp", "widths": [128, 64]},
        "optimizer": ADAM,
        "training": {"epochs": 10, "batch_size": 64},
    },
    "lenet5": {
        "data": PIXELS,
        "architecture": {"kind": "lenet5"},
        "optimizer": {"kind": "sgd", "lr": 0.02, "momentum": 0.9},
        "training": {"epochs": 8, "batch_size": 64},
    },
    "lenet5-adam": {
        "data": FLOATS,
        "architecture": {"kind": "lenet5"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 8, "batch_size": 64},
    },
    # a user's own modules
    "own-mlp": {
        "data": FLOATS,
        "architecture": module("networks:perceptron"),
        "optimizer": ADAM,
        "training": {"epochs": 10, "batch_size": 64},
    },
    "own-lenet": {
        "data": FLOATS,
        "architecture": module("networks:Lenet"),
        "optimizer": {"kind": "adam", "lr": 0.004},
        "scheduler": {"kind": "cosine"},
        "training": {"epochs": 10, "batch_size": 64},
    },
    "own-resnet": {
        "data": FLOATS,
        "architecture": module("networks:resnet"),
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
        "scheduler": {"kind": "cosine"},
        "training": {"epochs": 8, "batch_size": 64},
    },
    "own-vgg": {
        "data": FLOATS,
        "architecture": module("networks:vgg"),
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
        "scheduler": {"kind": "cosine"},
        "training": {"epochs": 8, "batch_size": 64},
    },
    "mlp-norm": {
        "data": data("pictures:tensors", train=1500),
        "architecture": {"kind": "mlp", "widths": [64, 64]},
        "norm": "batch",
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 6, "batch_size": 32},
    },
    "own-vgg-short": {
        "data": data("pictures:tensors", train=1500),
        "architecture": module("networks:vgg"),
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
        "scheduler": {"kind": "cosine"},
        "training": {"epochs": 6, "batch_size": 32},
    },
}


def controls() -> list[Case]:
    """The controls as cases."""
    return [Case("control", name, config, "control") for name, config in CONTROLS.items()]


def seeded(base: str, changes: Config) -> Config:
    """A control's recipe with a fault in it."""
    return merged(CONTROLS[base], changes)
