"""A user's data with a mistake in it, as TensorDatasets or as Datasets of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Subset, TensorDataset

from zoo.pictures import MEAN, STD, Pairs, Pictures, Splits, images, standardized, with_noise

DEFAULT = "fashion_mnist"


def _both(source: str, size: dict[str, int]) -> tuple[Pairs, Pairs]:
    """Standardized training and validation pictures, with their labels."""
    (x, y), (x_val, y_val) = images(source, **size)
    return (standardized(x, source), y), (standardized(x_val, source), y_val)


def _shown(train: Pairs, val: Pairs, source: str, *, by_one: bool) -> Splits:
    """Floats as they are: in TensorDatasets, or read one example at a time."""
    if not by_one:
        return TensorDataset(*train), TensorDataset(*val)
    made = []
    for x, y in (train, val):
        pictures = Pictures(torch.zeros_like(x, dtype=torch.uint8), y, source)
        pictures.pixels = x
        made.append(pictures)
    return made[0], made[1]


def unscaled(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """Floats in 0-255."""
    (x, y), (x_val, y_val) = images(source, **size)
    return _shown((x.float(), y), (x_val.float(), y_val), source, by_one=by_one)


def scaled_twice(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """ToTensor has divided by 255 already, and the user does it again."""
    (x, y), (x_val, y_val) = images(source, **size)
    return _shown((x / 255 / 255, y), (x_val / 255 / 255, y_val), source, by_one=by_one)


def val_unlike_train(
    source: str = DEFAULT, by_one: bool = False, how: str = "unit", **size: int
) -> Splits:
    """The validation pictures miss the training's normalization, or get another one."""
    (x, y), (x_val, y_val) = images(source, **size)
    if how == "unit":
        train, val = standardized(x, source), x_val / 255
    else:
        train, val = x / 255, standardized(x_val, source)
    return _shown((train, y), (val, y_val), source, by_one=by_one)


def one_image(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """The loop variable is not used: every picture is the first."""
    (x, y), (x_val, y_val) = _both(source, size)
    same = x[:1].expand_as(x).clone(), x_val[:1].expand_as(x_val).clone()
    return _shown((same[0], y), (same[1], y_val), source, by_one=by_one)


def holes(source: str = DEFAULT, by_one: bool = False, share: float = 0.001, **size: int) -> Splits:
    """A share of the pixels is NaN, after a division 0 / 0 say."""
    (x, y), val = _both(source, size)
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
    return _shown((x.masked_fill(draw < share, torch.nan), y), val, source, by_one=by_one)


def wrong_labels(
    source: str = DEFAULT, by_one: bool = False, share: float = 0.4, **size: int
) -> Splits:
    """A share of the training labels is random."""
    (x, y), val = _both(source, size)
    return _shown((x, with_noise(y, share)), val, source, by_one=by_one)


def shifted_labels(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """The training labels count from 1, the last is 0."""
    (x, y), val = _both(source, size)
    return _shown((x, (y + 1) % 10), val, source, by_one=by_one)


def misaligned(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """Pictures and labels were shuffled apart from each other."""
    (x, y), val = _both(source, size)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(5))
    return _shown((x, y[order]), val, source, by_one=by_one)


def few(source: str = DEFAULT, by_one: bool = False, share: float = 0.01, **size: int) -> Splits:
    """A share of the training data is all there is."""
    train, val = _shown(*_both(source, size), source, by_one=by_one)
    count = len(train)  # type: ignore[arg-type]
    return Subset(train, range(max(20, round(share * count)))), val


def without_class(
    source: str = DEFAULT, by_one: bool = False, absent: int = 3, **size: int
) -> Splits:
    """A class is filtered out of the training split by mistake."""
    (x, y), val = _both(source, size)
    keep = y != absent
    return _shown((x[keep], y[keep]), val, source, by_one=by_one)


def noisy_train(
    source: str = DEFAULT, by_one: bool = False, sigma: float = 1.5, **size: int
) -> Splits:
    """The training pictures come from a noisy camera: the same noise each time."""
    (x, y), val = _both(source, size)
    noise = sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(13))
    return _shown((x + noise, y), val, source, by_one=by_one)


def scrambled(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """Each picture's pixels are in an order of its own, always the same one."""
    pairs = []
    for seed, (x, y) in enumerate(_both(source, size)):
        draw = torch.rand(x.flatten(1).shape, generator=torch.Generator().manual_seed(seed))
        pairs.append((x.flatten(1).gather(1, draw.argsort(1)).reshape(x.shape), y))
    return _shown(pairs[0], pairs[1], source, by_one=by_one)


def _torn(image: Tensor, index: int) -> Tensor:  # noqa: ARG001
    """Turned and mirrored at random, most of it blacked out, the rest shifted."""
    side = image.shape[-1]
    image = torch.rot90(image, int(torch.randint(0, 4, ())), dims=(1, 2))
    image = image.roll(int(torch.randint(0, side, ())), dims=int(torch.randint(1, 3, ())))
    kept = torch.zeros_like(image, dtype=torch.bool)
    row, column = (int(torch.randint(0, side * 2 // 3, ())) for _ in range(2))
    kept[:, row : row + side // 3, column : column + side // 3] = True
    return torch.where(kept, image, image.min())


def _static(image: Tensor, index: int) -> Tensor:  # noqa: ARG001
    """Drowned in noise that is drawn anew each time."""
    return image + 4 * torch.randn(image.shape)


def _jittered(image: Tensor, index: int) -> Tensor:  # noqa: ARG001
    """Shifted by up to two pixels and perhaps mirrored: an augmentation for training."""
    image = F.pad(image, (2, 2, 2, 2), value=float(image.min()))
    side = image.shape[-1] - 4
    row, column = (int(torch.randint(0, 5, ())) for _ in range(2))
    image = image[:, row : row + side, column : column + side]
    return image.flip(-1) if torch.rand(()) < 0.5 else image


def _noised(image: Tensor, index: int) -> Tensor:  # noqa: ARG001
    """With a little noise that is drawn anew each time."""
    return image + 0.3 * torch.randn(image.shape)


CHANGES = {"torn": _torn, "static": _static, "jittered": _jittered, "noised": _noised}


def changed(
    source: str = DEFAULT, train_change: str = "", val_change: str = "", **size: int
) -> Splits:
    """Datasets with a random change of each picture: in training, in validation or in both."""
    train, val = images(source, **size)
    return (
        Pictures(*train, source, CHANGES.get(train_change)),
        Pictures(*val, source, CHANGES.get(val_change)),
    )


def leaked(source: str = DEFAULT, by_one: bool = False, share: float = 0.5, **size: int) -> Splits:
    """A share of the validation split was copied from the training split."""
    (x, y), (x_val, y_val) = _both(source, size)
    count = round(share * len(y_val))
    val = torch.cat([x[:count], x_val[count:]]), torch.cat([y[:count], y_val[count:]])
    return _shown((x, y), val, source, by_one=by_one)


def sorted_by_class(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """All of the first class, then all of the second, and so on."""
    (x, y), val = _both(source, size)
    order = y.argsort(stable=True)
    return _shown((x[order], y[order]), val, source, by_one=by_one)


def skewed(source: str = DEFAULT, by_one: bool = False, ratio: float = 50, **size: int) -> Splits:
    """Half of the classes keep one training example in `ratio`."""
    (x, y), val = _both(source, size)
    draw = torch.rand(len(y), generator=torch.Generator().manual_seed(7))
    keep = (y % 2 == 1) | (draw < 1 / ratio)
    return _shown((x[keep], y[keep]), val, source, by_one=by_one)


def overlapping(source: str = DEFAULT, by_one: bool = False, **size: int) -> Splits:
    """Two labels for one kind of thing, a coin between them: 0 or 1, and 2 or 3, in both splits."""
    pairs = []
    for seed, (x, y) in enumerate(_both(source, size)):
        coin = torch.randint(0, 2, y.shape, generator=torch.Generator().manual_seed(seed))
        pairs.append((x, torch.where(y < 4, 2 * (y // 2) + coin, y)))
    return _shown(pairs[0], pairs[1], source, by_one=by_one)


def statistics(source: str) -> dict[str, Any]:
    """The mean and the spread that a user subtracts and divides by."""
    return {"mean": MEAN[source], "std": STD[source]}
