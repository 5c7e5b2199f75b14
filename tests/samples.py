"""Made-up data, a healthy model of them, and a bench for any model and loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks import Bench
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data import DataBundle
from nnrecipe.data.augmentation import Augmentation
from nnrecipe.data.normalization import NoNormalization
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.split import ResidentSplit
from nnrecipe.regularization import Regularization

CLASSES = 4


def blobs(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Four well separated classes: inputs [count, 1, 6, 6] of size about 1, and labels."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 1, 6, 6, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % CLASSES
    return centres[labels] + 0.3 * torch.randn(count, 1, 6, 6, generator=draw), labels


def perceptron() -> nn.Module:
    """A small healthy classifier of the blobs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, CLASSES))


def make_bench(
    *,
    model: Callable[[], nn.Module] = perceptron,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    train: tuple[Tensor, Tensor] | None = None,
    val: tuple[Tensor, Tensor] | None = None,
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Bench:
    """A bench on the blobs, unless told otherwise; `changes` are fields of `Bench`."""
    cpu = torch.device("cpu")
    train = train or blobs(200, seed=1)
    val = val or blobs(80, seed=2)
    single = not train[1].is_floating_point()
    counts = tuple(train[1].bincount(minlength=CLASSES).tolist()) if single else ()
    one = torch.ones(())
    fields: dict[str, Any] = {
        "train": ResidentSplit(*train, device=cpu),
        "val": ResidentSplit(*val, device=cpu),
        "test": None,
        "classes": ("a", "b", "c", "d"),
        "input_shape": tuple(train[0].shape[1:]),
        "preprocessing": Preprocessing(unit=one, mean=torch.zeros(()), std=one),
        "augmentation": Augmentation((), white=None),
        "indices": {},
        "outputs": OutputSpec(CLASSES, counts, examples=len(train[1])),
        "normalization": NoNormalization(),
    }
    bundle = DataBundle(**(fields | (data or {})))

    def fresh() -> nn.Module:
        with isolated_rng(0, "model"):
            return model()

    def sgd(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=lr)

    settings: dict[str, Any] = {
        "data": bundle,
        "make_model": fresh,
        "make_variant": lambda **_: fresh(),
        "make_optimizer": sgd,
        "make_loss": lambda: loss,
        "make_bare_loss": lambda: loss,
        "chance": None,
        "penalty": Regularization().penalty(),
        "device": cpu,
        "seed": 0,
        "batch_size": 32,
        "learning_rate": 0.1,
    }
    return Bench(**(settings | changes))
