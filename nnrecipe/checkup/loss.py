"""The user's loss, as the checks call it."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from nnrecipe.checkup.form import Form
from nnrecipe.core.errors import UserError
from nnrecipe.core.targets import blaming
from nnrecipe.losses import LossCallable
from nnrecipe.losses.function import LossFunction

SMOOTHING = "label_smoothing"
IGNORED, USUALLY_IGNORED = "ignore_index", -100
"""The label of examples that a loss leaves out, and torch's own choice of it."""


class PlainLoss(LossFunction):
    """A user's loss of outputs `[N, size]` and targets as `core.shapes.Task` has them."""

    def __init__(self, loss: LossCallable, form: Form) -> None:
        weights = loss.weight if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) else None
        super().__init__(loss, class_weights=weights)
        self._form = form

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar. Raises `UserError` for what the user's loss makes of it else."""
        given = self._form.given_outputs(outputs)
        with blaming("loss_fn", name_of(self.loss)):
            value: Any = super().__call__(given, self._form.given_targets(targets))
        if not isinstance(value, Tensor) or value.ndim:
            found = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            remedy = "return the mean over the batch, a scalar tensor"
            raise UserError(f"loss_fn: {name_of(self.loss)} returned {found}: {remedy}")
        return value


def copied_loss(loss: LossCallable) -> LossCallable:
    """A copy, where the loss is an object with a state of its own."""
    try:
        return copy.deepcopy(loss)
    except Exception:  # a method of something that can't be copied
        return loss


def ignored_label(loss: LossCallable) -> int:
    """The label that the loss leaves out, or the usual one where it doesn't say."""
    if isinstance(loss, functools.partial):
        return int(loss.keywords.get(IGNORED, ignored_label(loss.func)))
    return int(getattr(loss, IGNORED, USUALLY_IGNORED))


def without_smoothing(loss: LossCallable) -> LossCallable:
    """A copy of the loss that takes labels as they are, where that can be told."""
    made = copied_loss(loss)
    if isinstance(made, nn.CrossEntropyLoss):
        made.label_smoothing = 0.0
    elif isinstance(made, functools.partial) and SMOOTHING in made.keywords:
        return functools.partial(made.func, *made.args, **{**made.keywords, SMOOTHING: 0.0})
    return made


@torch.no_grad()
def chance_of(loss: PlainLoss, *, size: int, device: torch.device) -> float | None:
    """The loss of a uniform guess among C classes where that is ln C; None for any other loss.

    A uniform guess is equal logits, and equal log-probabilities for a loss that takes those.
    """
    targets = torch.arange(size, device=device)
    for level in (0.0, -math.log(size)):
        outputs = torch.full((size, size), level, device=device)
        try:
            value = float(loss(outputs, targets))
        except UserError:
            return None
        if math.isclose(value, math.log(size), rel_tol=1e-3):
            return math.log(size)
    return None


def name_of(loss: object) -> str:
    """`CrossEntropyLoss`, `my_loss`: what a loss is called."""
    if isinstance(loss, functools.partial):
        return name_of(loss.func)
    return str(loss.__name__) if hasattr(loss, "__name__") else type(loss).__name__
