"""A user's data: small labelled pictures as tensors and as Datasets, all of it in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

MEAN = {"fashion_mnist": 0.286, "digits": 0.305}
STD = {"fashion_mnist": 0.353, "digits": 0.376}

Pairs = tuple[Tensor, Tensor]


def images(
    source: str = "fashion_mnist", *, part: int = 0, train: int = 3000, val: int = 1000
) -> tuple[Pairs, Pairs]:
    """Training and validation images [N, 1, H, W] uint8 with their labels [N].

    Each `part` is a disjoint subset, as long as there are examples enough.
    """
    pixels, labels = _whole(source)
    if source == "digits":
        train, val, part = min(train, 1000), min(val, 400), 0
    start = part * (train + val) % (len(labels) - train - val)
    middle, end = start + train, start + train + val
    return (
        (pixels[start:middle], labels[start:middle]),
        (pixels[middle:end], labels[middle:end]),
    )


@lru_cache(maxsize=2)
def _whole(source: str) -> Pairs:
    if source == "digits":
        bunch = load_digits()
        pixels = torch.tensor(np.round(bunch.images * 255 / 16), dtype=torch.uint8)
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
        return pixels[order].unsqueeze(1), torch.tensor(bunch.target)[order]
    folder = Path(os.environ.get("NNRECIPE_DATA", "data")) / "FashionMNIST" / "raw"
    raw = np.fromfile(folder / "train-images-idx3-ubyte", dtype=np.uint8)[16:]
    labels = np.fromfile(folder / "train-labels-idx1-ubyte", dtype=np.uint8)[8:]
    return torch.tensor(raw.reshape(-1, 1, 28, 28)), torch.tensor(labels).long()


def standardized(pixels: Tensor, source: str = "fashion_mnist") -> Tensor:
    """Pixels as floats with mean 0 and spread 1."""
    return (pixels / 255 - MEAN[source]) / STD[source]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures that are read one at a time; `change` makes of each what is trained on."""

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        source: str,
        change: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        self.pixels = standardized(pixels, source)
        self.targets = labels
        self.change = change

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pixels[index]
        if self.change is not None:
            image = self.change(image, index)
        return image, int(self.targets[index])


Splits = tuple[Dataset[Any], Dataset[Any]]


def raw(source: str = "fashion_mnist", pad: int = 0, **size: int) -> Splits:
    """The pixels as they are stored, 0-255, with a black border: for a config that scales them."""
    (x, y), (x_val, y_val) = images(source, **size)
    border = (pad, pad, pad, pad)
    return TensorDataset(F.pad(x, border), y), TensorDataset(F.pad(x_val, border), y_val)


def tensors(source: str = "fashion_mnist", **size: int) -> Splits:
    """Standardized floats in TensorDatasets."""
    (x, y), (x_val, y_val) = images(source, **size)
    return TensorDataset(standardized(x, source), y), TensorDataset(
        standardized(x_val, source), y_val
    )


def pictures(source: str = "fashion_mnist", **size: int) -> Splits:
    """Standardized floats in Datasets that are read one example at a time."""
    train, val = images(source, **size)
    return Pictures(*train, source), Pictures(*val, source)


def imbalanced(source: str = "fashion_mnist", ratio: float = 5, **size: int) -> Splits:
    """The even classes keep one example in `ratio`; the validation split is balanced."""
    (x, y), (x_val, y_val) = images(source, **size)
    draw = torch.rand(len(y), generator=torch.Generator().manual_seed(7))
    keep = (y % 2 == 1) | (draw < 1 / ratio)
    return (
        TensorDataset(standardized(x[keep], source), y[keep]),
        TensorDataset(standardized(x_val, source), y_val),
    )


def noisy_labels(source: str = "fashion_mnist", share: float = 0.05, **size: int) -> Splits:
    """A share of the training labels is drawn at random."""
    (x, y), (x_val, y_val) = images(source, **size)
    y = with_noise(y, share)
    return TensorDataset(standardized(x, source), y), TensorDataset(
        standardized(x_val, source), y_val
    )


def with_noise(labels: Tensor, share: float) -> Tensor:
    """The labels, of which a share is drawn anew."""
    draw = torch.Generator().manual_seed(11)
    random = torch.randint(0, 10, labels.shape, generator=draw)
    return torch.where(torch.rand(labels.shape, generator=draw) < share, random, labels)


def easy(source: str = "fashion_mnist", **size: int) -> Splits:
    """Two classes that nobody mixes up: trousers and ankle boots, or 0 and 1."""
    pair = (0, 1) if source == "digits" else (1, 9)
    splits = []
    for x, y in images(source, **size):
        keep = (y == pair[0]) | (y == pair[1])
        splits.append(TensorDataset(standardized(x[keep], source), (y[keep] == pair[1]).long()))
    return splits[0], splits[1]
