"""The zoo's table: each fault in several networks and through several seams."""

from __future__ import annotations

from typing import Any

from zoo.case import Case, Config
from zoo.controls import data, loss, module, seeded

Seeded = list[tuple[str, str, Config]]
"""The control that a fault is seeded into, a word to tell its cases apart, and the changes."""
Entry = tuple[str, tuple[str, ...], Seeded]
"""The row of the table, the right causes, and the cases."""

HARMLESS = ("D15", "S4")
"""What need not lower accuracy to be wrong."""


def faults() -> list[Case]:
    """Every fault of the table."""
    return [
        Case(
            entry,
            f"{base}-{how}" if how else base,
            seeded(base, changes),
            "fault",
            causes,
            control=f"control-{base}",
            must_hurt=entry not in HARMLESS,
        )
        for entry, causes, rows in (*DATA, *MODELS, *LOSSES, *SETTINGS)
        for base, how, changes in rows
    ]


def given(function: str, **args: Any) -> Config:
    """Data that are faulty: taken as they come."""
    return {"data": data(f"faulty_data:{function}", **args) | {"normalize": "none"}}


def built(function: str, **args: Any) -> Config:
    """A network that is faulty."""
    return {"architecture": module(function, **args)}


def tried(key: str, **changes: Any) -> Config:
    """A section of the config with other values."""
    return {key: changes}


def two(function: str, first: str = "mlp", second: str = "lenet5-adam", **args: Any) -> Seeded:
    """A fault of the data in TensorDatasets for one network, one by one for another."""
    return [
        (first, "tensors", given(function, **args)),
        (second, "dataset", given(function, by_one=True, **args)),
    ]


def pair(function: str, first: str = "own-mlp", second: str = "own-lenet", **args: Any) -> Seeded:
    """A fault of the network in its fully connected and its convolutional form."""
    return [
        (first, "", built(function, **args)),
        (second, "", built(function, conv=True, **args)),
    ]


# fmt: off
DATA: list[Entry] = [
    ("D1", ("input_unscaled",), two("unscaled", second="lenet5")),
    ("D3", ("preprocessing_mismatch",), [
        ("mlp", "unit", given("val_unlike_train", how="unit")),
        ("own-resnet", "swapped", given("val_unlike_train", how="swapped", by_one=True)),
    ]),
    ("D4", ("constant_input",), two("one_image")),
    ("D5", ("nan_input",), two("holes", second="own-resnet")),
    ("D6", ("label_noise",), two("wrong_labels")),
    ("D8", ("label_map_mismatch",), two("shifted_labels", second="own-vgg")),
    ("D9", ("too_little_data",), [
        ("lenet5", "limit", tried("data", limit=30)),
        ("mlp", "subset", given("few")),
    ]),
    ("D12", ("distribution_shift",), two("noisy_train")),
    ("D14", ("augmentation_too_strong",), [
        ("mlp", "dataset", given("changed", train_change="torn")),
        ("own-lenet", "dataset", given("changed", train_change="static")),
        ("lenet5", "config", tried("data", augment=[
            {"kind": "rotation", "degrees": 180.0},
            {"kind": "noise", "std": 1.0},
            {"kind": "cutout", "size": 20},
        ])),
    ]),
    ("D15", ("val_augmented",), [
        ("mlp", "jittered", given("changed", val_change="jittered")),
        ("own-lenet", "both", given("changed", train_change="jittered", val_change="jittered")),
        ("own-resnet", "noised", given("changed", val_change="noised")),
    ]),
    ("D17", ("missing_class",), two("without_class")),
    ("D18", ("input_destroyed",), two("scrambled", second="own-lenet")),
]

MODELS: list[Entry] = [
    ("A1", ("zero_init",), [
        ("own-mlp", "", built("faulty_layers:started", network="mlp")),
        ("own-lenet", "", built("faulty_layers:started", network="lenet")),
    ]),
    ("A3", ("init_too_large",), [
        ("own-mlp", "", built("faulty_layers:started", network="mlp", how="normal")),
        ("own-lenet", "", built("faulty_layers:started", network="lenet", how="normal")),
    ]),
    ("A5", ("saturating_depth", "vanishing_gradient"), pair("faulty_layers:deep_sigmoid")),
    ("A7", ("double_softmax",), [
        ("own-mlp", "", built("faulty_layers:ending_in", network="mlp", what="softmax")),
        ("own-lenet", "", built("faulty_layers:ending_in", network="lenet", what="softmax")),
        ("own-resnet", "", built("faulty_layers:Probabilities")),
    ]),
    ("A9", ("no_nonlinearity",), pair("faulty_layers:linear_layers")),
    ("A10", ("dead_relu",), pair("faulty_layers:negative_bias")),
    ("A12", ("detached_graph",), pair("faulty_networks:Detached")),
    ("A14", ("unregistered_modules",), pair("faulty_networks:Listed")),
    ("A15", ("dropout_too_high",), [
        ("mlp-adam", "config", tried("regularization", dropout=0.95)),
        ("lenet5", "config", tried("regularization", dropout=0.95)),
        ("own-lenet", "", built("networks:Lenet", dropout=0.95)),
    ]),
    ("A17", ("eval_inactive",), [
        ("own-mlp", "", built("faulty_networks:AlwaysDropping")),
        ("own-lenet", "", built("faulty_networks:StuckInTraining", dropout=0.5)),
    ]),
    ("A19", ("bottleneck",), pair("faulty_layers:narrow")),
    ("A20", ("too_deep", "vanishing_gradient"), [
        ("own-lenet", "", built("faulty_layers:very_deep")),
        ("own-vgg", "30", built("faulty_layers:very_deep", depth=30)),
    ]),
    ("A21", ("exploding_activations", "exploding_gradient"), pair(
        "faulty_networks:Amplified", second="own-resnet")),
    ("A22", ("wrong_gradient",), pair("faulty_networks:OwnBackward")),
    ("A24", ("batch_mixing",), pair("faulty_networks:Mixing")),
    ("A25", ("input_ignored",), pair("faulty_networks:Blind", second="own-resnet")),
]

LOSSES: list[Entry] = [
    ("S1", ("loss_mismatch",), [
        ("mlp", "logits", {"loss": loss("squared_error")}),
        ("lenet5", "probabilities", {"loss": loss("squared_error_of_probabilities")}),
    ]),
    ("S2", ("missing_log_softmax",), [
        ("mlp", "custom", {"loss": loss("likelihood")}),
        ("own-lenet", "config", {"loss": {"kind": "nll"}}),
    ]),
    ("S3", ("sign_flipped",), [
        ("mlp", "minus", {"loss": loss("maximized")}),
        ("own-resnet", "forgotten", {"loss": loss("rewarded")}),
    ]),
    ("S4", ("sum_reduction",), [
        ("mlp-adam", "", {"loss": loss("summed")}),
        ("own-lenet", "", {"loss": loss("summed")}),
    ]),
    ("S8", ("over_regularized",), [
        ("mlp", "", tried("optimizer", weight_decay=1.0)),
        ("lenet5-adam", "", tried("optimizer", weight_decay=1.0)),
        ("own-resnet", "", tried("optimizer", weight_decay=1.0)),
    ]),
]

SETTINGS: list[Entry] = [
    ("H1", ("lr_too_high",), [
        (base, "", tried("optimizer", lr=10.0)) for base in ("mlp", "lenet5", "own-vgg")]),
    ("H3", ("lr_too_high",), [
        (base, "", tried("optimizer", lr=0.1)) for base in ("mlp-adam", "lenet5-adam")]),
    ("H5", ("bn_small_batch",), [
        (base, "", tried("training", batch_size=2)) for base in ("mlp-norm", "own-vgg-short")]),
    ("H6", ("undertrained",), [
        (base, "", tried("training", epochs=1)) for base in ("mlp", "lenet5-adam")]),
    ("H9", ("adam_eps",), [
        (base, "", tried("optimizer", eps=1.0)) for base in ("mlp-adam", "lenet5-adam")]),
]
# fmt: on
