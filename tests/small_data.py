"""Small real data in two splits, as tensors, and a bench on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from samples import make_bench
from sklearn.datasets import load_digits, make_classification
from torch import Tensor

from nnrecipe.checks import Bench
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.core.spec import members
from nnrecipe.data.batch import Batch
from nnrecipe.data.split import ResidentSplit

Pair = tuple[Tensor, Tensor]
Pairs = tuple[Pair, Pair]


def digits() -> Pairs:
    """Handwritten digits [N, 1, 8, 8], standardized: 1000 to train on, 500 to validate."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1)[order]
    return _divided((inputs - inputs.mean()) / inputs.std(), torch.tensor(bunch.target)[order])


def rows() -> Pairs:
    """A table [N, 30] of ten classes: 1000 rows to train on, 500 to validate."""
    inputs, labels = make_classification(
        1500, 30, n_informative=20, n_classes=10, n_clusters_per_class=1, random_state=1
    )
    table = torch.tensor(inputs, dtype=torch.float32)
    return _divided((table - table.mean(0)) / table.std(0), torch.tensor(labels))


DATA: dict[str, Callable[[], Pairs]] = {"digits": digits, "rows": rows}


def draws(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def shuffled(values: Tensor, *, seed: int = 0) -> Tensor:
    """The same in another order."""
    return values[torch.randperm(len(values), generator=draws(seed))]


def with_noise(labels: Tensor, share: float, *, seed: int = 0) -> Tensor:
    """The labels, a share of which is drawn anew from ten classes."""
    random = torch.randint(0, 10, labels.shape, generator=draws(seed))
    return torch.where(torch.rand(labels.shape, generator=draws(seed + 1)) < share, random, labels)


def scrambled(inputs: Tensor, *, seed: int = 0) -> Tensor:
    """Each example's numbers in an order of its own."""
    order = torch.rand(inputs.flatten(1).shape, generator=draws(seed)).argsort(1)
    return inputs.flatten(1).gather(1, order).view_as(inputs)


class RandomSplit(ResidentSplit):
    """Examples that are changed at random at each reading."""

    def __init__(self, pair: Pair, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(*pair, device=torch.device("cpu"))
        self.change = change

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        inputs, targets = super().examples(indices)
        return Batch(self.change(inputs), targets)


def bench_on(train: Pair, val: Pair, *, size: int = 10, **changes: Any) -> Bench:
    """A bench for a classification in `size` classes; `changes` as in `make_bench`."""
    counts = tuple(np.bincount(train[1].numpy(), minlength=size).tolist())
    data = {
        "outputs": OutputSpec(size, counts, examples=len(train[1])),
        "classes": tuple(f"class {label}" for label in range(size)),
        **changes.pop("data", {}),
    }
    return make_bench(train=train, val=val, data=data, **changes)


def faults(bench: Bench, family: Any) -> list[Finding]:
    """What all checks of a family find, but for what passes; the surest first."""
    found = [finding for check in members(family) for finding in check().check(bench)]
    found = [finding for finding in found if finding.verdict is not Verdict.PASS]
    return sorted(found, key=lambda finding: -finding.confidence)


def _divided(inputs: Tensor, labels: Tensor) -> Pairs:
    return (inputs[:1000], labels[:1000]), (inputs[1000:1500], labels[1000:1500])
