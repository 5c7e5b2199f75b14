"""The user's own targets as tensors: what they may be, by the task."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import SingleTask

_RULES: dict[SingleTask, str] = {
    "single_label": "labels must be class numbers 0, 1, 2, ...",
    "multi_label": "targets must be rows of 0 and 1, one for each label",
    "regression": "targets must be finite numbers, or rows of them",
}
_SHOWN = 12  # numbers of a wrong target that a message shows


def as_target(value: Any, *, task: SingleTask, where: str) -> Tensor:
    """One example's target: an int64 scalar, or float32 `[L]` or `[D]`.

    `single_label` takes class numbers, floats too if they are whole; `multi_label` L numbers that
    are 0 or 1; `regression` a finite number, or D of them. Raises `UserError` that begins with
    `where` and says which other task would fit.
    """
    if task == "single_label" and type(value) is int and value >= 0:
        return torch.tensor(value)
    values = _tensor(value)
    if values is None:
        raise UserError(f"{where}: {_RULES[task]}, got {value!r:.80}")
    return _converted(values.unsqueeze(0), task=task, where=where, places=False)[0]


def as_targets(values: Tensor, *, task: SingleTask, where: str) -> Tensor:
    """All examples' targets, `[N]` int64 or `[N, D]` float32, from what `as_target` takes of one.

    Raises `UserError` likewise.
    """
    return _converted(values.detach().cpu(), task=task, where=where, places=True)


def _converted(values: Tensor, *, task: SingleTask, where: str, places: bool) -> Tensor:
    """Targets of the `values: [N, ...]`; `places` adds the first wrong one's to the message."""
    found = _convert(values, task)
    if found is None:
        shape = list(values.shape)
        shown = f"a tensor {shape}" if places else _shown(values[0])
    elif found[1].any():
        place = int(found[1].nonzero()[0])
        where = f"{where}[{place}]" if places else where
        shown = _shown(values[place])
    else:
        return found[0]
    fitting = [other for other in get_args(SingleTask) if _fits(values, other)]
    advice = f": data.task: {fitting[0]} would fit" if fitting else ""
    raise UserError(f"{where}: {_RULES[task]}, got {shown}{advice}")


def _convert(values: Tensor, task: SingleTask) -> tuple[Tensor, Tensor] | None:
    """`values: [N, ...]` as targets, and which of them are wrong; None if their shape is."""
    flat = values.squeeze(1) if values.ndim == 2 and values.shape[1] == 1 else values
    rows = values.unsqueeze(1) if values.ndim == 1 else values
    if values.is_complex():
        return None
    if task == "single_label":
        numbers = flat.long()
        return (numbers, (numbers < 0) | (numbers != flat)) if flat.ndim == 1 else None
    if rows.ndim != 2 or not rows.shape[1]:
        return None
    if task == "multi_label":
        wrong = ((rows != 0) & (rows != 1)).any(1)
        return (rows.float(), wrong) if rows is values else None
    numbers = rows.float()
    return numbers, ~numbers.isfinite().all(1)


def _fits(values: Tensor, task: SingleTask) -> bool:
    found = _convert(values, task)
    return found is not None and not found[1].any()


def _tensor(value: Any) -> Tensor | None:
    """What torch can make of a number, an array or a sequence of numbers."""
    try:
        # Torch warns of arrays that it could write to and shouldn't, so it gets a copy.
        copied = np.array(value) if isinstance(value, np.ndarray | np.generic) else value
        return torch.as_tensor(copied).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        return None


def _shown(value: Tensor) -> str:
    return str(value.tolist()) if value.numel() <= _SHOWN else f"a tensor {list(value.shape)}"
