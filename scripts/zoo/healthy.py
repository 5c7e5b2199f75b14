"""The healthy controls N1 to N20: whatever fires on them is a false alarm."""

from __future__ import annotations

from typing import Any

from zoo.case import Case, Config
from zoo.controls import ADAM, FLOATS, PIXELS, data, module

PADDED = data("pictures:raw", pad=2) | {"normalize": "standardize"}
"""32x32 pixels, which a VGG with its five poolings asks for."""


def healthy() -> list[Case]:
    """Every healthy control."""
    return [Case(entry, variant, config, "healthy") for entry, variant, config in _recipes()]


def _recipe(
    architecture: Config | str, optimizer: Config, *, epochs: int = 8, batch: int = 64, **more: Any
) -> Config:
    training = {"epochs": epochs, "batch_size": batch}
    parts = {"data": PIXELS, "architecture": architecture, "optimizer": optimizer}
    return {**parts, "training": training, **more}


def _recipes() -> list[tuple[str, str, Config]]:
    momentum = {"kind": "sgd", "lr": 0.05, "momentum": 0.9}
    plain = {"kind": "sgd", "lr": 0.1}
    lenet, vgg, resnet = "lenet5", {"kind": "vgg", "depth": 11, "width": 0.125}, _resnet()
    mlp = {"kind": "mlp", "widths": [128, 64]}
    return [
        ("N1", "mlp", _recipe(mlp, plain, epochs=10)),
        ("N2", "mlp-tanh", _recipe(
            mlp | {"activation": "tanh"}, plain, epochs=10, init="xavier_normal")),
        ("N3", "mlp-sigmoid", _recipe(
            {"kind": "mlp", "widths": [100], "activation": "sigmoid"}, ADAM, epochs=12)),
        ("N4", "lenet5", _recipe(lenet, ADAM)),
        ("N5", "lenet5-tanh", _recipe(
            {"kind": "lenet5", "activation": "tanh", "pool": "avg"}, plain)),
        ("N6", "vgg-norm", _recipe(
            vgg, momentum, epochs=8, data=PADDED, norm="batch", scheduler={"kind": "cosine"})),
        ("N7", "vgg-plain", _recipe(
            vgg, momentum | {"lr": 0.02}, epochs=12, data=PADDED, norm="none",
            init="kaiming_normal")),
        ("N8", "resnet-gamma", _recipe(
            resnet, momentum, epochs=10, init={"kind": "kaiming_normal", "zero_gamma": True})),
        ("N9", "resnet-cosine", _recipe(
            resnet, momentum | {"lr": 0.1}, epochs=10,
            scheduler={"kind": "cosine", "warmup": "1 epoch"})),
        ("N10", "lenet5-cycle", _recipe(
            lenet, ADAM | {"lr": 0.005}, scheduler={"kind": "one_cycle"})),
        ("N11", "mlp-dropout", _recipe(
            {"kind": "mlp", "widths": [256, 128]}, ADAM, epochs=12,
            regularization={"dropout": 0.5})),
        ("N12", "lenet5-smoothing", _recipe(
            lenet, ADAM, loss={"kind": "cross_entropy", "label_smoothing": 0.1})),
        ("N13", "lenet5-mixup", _recipe(lenet, ADAM, epochs=10, regularization={"mixup": 0.2})),
        ("N14", "mlp-adamw", _recipe(
            mlp, {"kind": "adamw", "lr": 0.001, "weight_decay": 0.05}, epochs=10)),
        ("N15", "lenet5-imbalance", _recipe(
            lenet, ADAM, epochs=10, data=data("pictures:imbalanced"),
            loss={"kind": "cross_entropy", "class_weights": "balanced"})),
        ("N16", "lenet5-noise", _recipe(lenet, ADAM, data=data("pictures:noisy_labels"))),
        ("N17", "pretrained", _recipe(
            module("networks:pretrained"), ADAM, data=FLOATS,
            transfer={"freeze": [r"^features\."]})),
        ("N18", "lenet5-bf16", _recipe(lenet, ADAM, precision="bf16")),
        ("N19", "lenet5-easy", _recipe(
            lenet, ADAM, data=data("pictures:easy") | {"classes": 2})),
        ("N20", "mlp-gelu", _recipe(
            mlp | {"activation": "gelu"}, ADAM | {"lr": 0.003}, epochs=20, batch=512)),
    ]  # fmt: skip


def _resnet() -> Config:
    return {"kind": "resnet", "depth": 8, "width": 0.5}
