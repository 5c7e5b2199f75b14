"""What can be known of a user's Dataset without reading its examples one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset


def tensors_of(dataset: Any) -> tuple[Tensor, ...] | None:
    """The tensors of a TensorDataset, or of a Subset of one, if it hands them out unchanged."""
    if isinstance(dataset, Subset):
        tensors = tensors_of(dataset.dataset)
        places = torch.as_tensor(list(dataset.indices), dtype=torch.long)
        return None if tensors is None else tuple(tensor[places] for tensor in tensors)
    plain = isinstance(dataset, TensorDataset)
    if not plain or type(dataset).__getitem__ is not TensorDataset.__getitem__:
        return None
    return tuple(dataset.tensors)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """The names in a Dataset's `classes`, or in those of the Dataset that a Subset is of."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else None


def declared_targets(dataset: Dataset[Any]) -> Tensor | None:
    """What a Dataset lists as `targets` or `labels`, `[N, ...]`; None if it has no such list."""
    if isinstance(dataset, Subset):
        targets = declared_targets(dataset.dataset)
        places = torch.as_tensor(list(dataset.indices), dtype=torch.long)
        return None if targets is None else targets[places]
    for name in ("targets", "labels"):
        try:
            targets = torch.as_tensor(getattr(dataset, name, None))
        except (TypeError, ValueError, RuntimeError):
            continue
        if targets.ndim and len(targets) == len(dataset):  # type: ignore[arg-type]
            return targets
    return None
