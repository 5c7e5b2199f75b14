"""Faults for the causes that the zoo's table leaves out; they are printed apart."""

from __future__ import annotations

from zoo.case import Case
from zoo.controls import loss, seeded
from zoo.faults import Seeded, built, given, pair, tried, two

HARMLESS = ("leakage", "double_scaling", "overfitting", "wrong_output_size")
"""What need not lower the accuracy that is measured."""


def extra() -> list[Case]:
    """Every further fault, in entries named after its cause."""
    return [
        Case(
            f"X-{causes[0]}",
            f"{base}-{how}" if how else base,
            seeded(base, changes),
            "extra",
            causes,
            control=f"control-{base}",
            must_hurt=causes[0] not in HARMLESS,
        )
        for causes, rows in FURTHER
        for base, how, changes in rows
    ]


# fmt: off
FURTHER: list[tuple[tuple[str, ...], Seeded]] = [
    (("misaligned_labels",), two("misaligned", second="own-lenet")),
    (("leakage",), two("leaked")),
    (("unshuffled",), [
        (base, "", given("sorted_by_class") | tried("training", shuffle=False))
        for base in ("mlp", "own-lenet")]),
    (("double_scaling",), two("scaled_twice")),
    (("class_imbalance",), two("skewed", second="own-lenet")),
    (("class_overlap", "label_noise"), two("overlapping", second="own-lenet")),
    (("constant_init",), [
        ("own-mlp", "", built("faulty_layers:started", how="constant")),
        ("mlp", "config", {"init": {"kind": "constant", "value": 0.05}}),
    ]),
    (("init_too_small", "vanishing_gradient"), [
        ("own-mlp", "", built("faulty_layers:started", how="normal", std=1e-5)),
        ("own-lenet", "", built(
            "faulty_layers:started", network="lenet", how="normal", std=1e-4)),
    ]),
    (("relu_logits",), [
        (f"own-{network}", "", built("faulty_layers:ending_in", network=network, what="relu"))
        for network in ("mlp", "lenet")]),
    (("sigmoid_logits",), [
        (f"own-{network}", "", built("faulty_layers:ending_in", network=network, what="sigmoid"))
        for network in ("mlp", "lenet")]),
    (("accidental_freeze",), pair("faulty_layers:frozen")),
    (("bn_stats",), [
        ("own-vgg", "", built("faulty_layers:stale_statistics")),
        ("own-mlp", "", built("faulty_layers:stale_statistics", conv=False)),
    ]),
    (("nan_gradient_op",), [("own-mlp", "", built("faulty_networks:RootOfZero"))]),
    (("wrong_output_size",), [
        ("own-mlp", "many", built("faulty_layers:wrong_size")),
        ("own-lenet", "few", built("faulty_layers:wrong_size", outputs=9, conv=True)),
    ]),
    (("saturated_units", "init_too_large"), pair("faulty_layers:saturated")),
    (("bad_class_weights",), [
        ("mlp", "", {"loss": loss("lopsided")}),
        ("lenet5-adam", "config", {"loss": {
            "kind": "cross_entropy", "class_weights": [500.0] + [1.0] * 9}}),
    ]),
    (("reg_sign",), [
        ("mlp", "", {"optimizer": {
            "kind": "custom", "target": "zoo.faulty_training:growing", "lr": 0.05,
            "args": {"strength": 0.05}}}),
    ]),
    (("lr_too_low",), [
        ("mlp", "", tried("optimizer", lr=1e-5)),
        ("lenet5-adam", "", tried("optimizer", lr=1e-7)),
    ]),
    (("momentum_too_high",), [
        ("lenet5", "", tried("optimizer", momentum=0.999)),
        ("own-vgg", "", tried("optimizer", momentum=0.9995)),
    ]),
    (("overfitting", "too_little_data"), [
        ("mlp-adam", "", tried("data", limit=300) | tried("training", epochs=60))]),
    (("schedule_too_fast",), [
        ("mlp", "", {"scheduler": {"kind": "step", "step_size": 5, "gamma": 0.1}}),
        ("lenet5-adam", "", {"scheduler": {"kind": "exponential", "gamma": 0.01}}),
    ]),
    (("clip_too_small",), [
        (base, "", tried("training", clip_norm=1e-4)) for base in ("mlp", "lenet5")]),
    (("underfitting", "bottleneck"), [
        ("mlp", "", {"architecture": {"kind": "mlp", "widths": [2]}})]),
]
# fmt: on
