"""What a user's outputs and targets are, and how they read as nnrecipe's.

Losses and models of plain PyTorch code agree on one of many forms: labels as numbers or as one-hot
rows, outputs as logits or as probabilities, rows of one number or plain numbers. Which one it is,
exact identities of the loss tell, on made-up outputs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import generator
from nnrecipe.core.shapes import SingleTask
from nnrecipe.losses import LossCallable

_SMALLEST = 1e-7
"""A probability that is cut off there has a finite logit."""


@dataclass(frozen=True)
class Form:
    """How the user's tensors are made; each method turns one into the other.

    `width` is the number of outputs of an example. `flat_outputs` says that the model gives `[N]`,
    `probabilities` that it gives them and that the loss takes them, `one_hot` that classes come as
    rows. `row` is the shape of one example's targets, of type `dtype`.
    """

    task: SingleTask
    width: int
    flat_outputs: bool
    probabilities: bool
    one_hot: bool
    row: tuple[int, ...]
    dtype: torch.dtype

    def targets(self, given: Tensor) -> Tensor:
        """The loader's targets as `core.shapes.Task` has them."""
        if self.task != "single_label":
            return given.reshape(len(given), -1).float()
        return given.argmax(1) if self.one_hot else given.reshape(len(given)).long()

    def given_targets(self, targets: Tensor) -> Tensor:
        """The targets as the loader gives them."""
        if self.one_hot:
            rows = F.one_hot(targets, math.prod(self.row))
            return rows.to(self.dtype)
        # In float64, as gradients are checked, targets stay as precise as the outputs.
        keeps = self.dtype.is_floating_point and targets.is_floating_point()
        return targets.reshape(len(targets), *self.row).to(targets.dtype if keeps else self.dtype)

    @property
    def converts(self) -> bool:
        """Whether the model's outputs need to be changed at all."""
        return self.flat_outputs or self.probabilities

    def outputs(self, given: Tensor) -> Tensor:
        """The model's outputs as logits or values `[N, width]`."""
        rows = given.unsqueeze(1) if self.flat_outputs else given
        if not self.probabilities:
            return rows
        inside = rows.clamp(_SMALLEST, 1 - _SMALLEST)
        return inside.log() if self.task == "single_label" else inside.logit()

    def given_outputs(self, outputs: Tensor) -> Tensor:
        """The outputs as the model gives them."""
        if self.probabilities:
            outputs = outputs.exp() if self.task == "single_label" else outputs.sigmoid()
        return outputs.squeeze(1) if self.flat_outputs else outputs


def form_of(outputs: Tensor, targets: Tensor, loss: LossCallable) -> Form:
    """What a model's first outputs, and all targets that were read, are.

    `outputs: [N]` or `[N, C]`, `targets: [M, ...]`, both on the loss's device; `loss` is the user's
    own, in their form. Raises `UserError` for targets that diagnose has no task for.
    """
    width = 1 if outputs.ndim == 1 else outputs.shape[1]
    if targets.ndim > 2:
        raise UserError(
            f"train_loader: targets are {list(targets.shape)}: diagnose takes a class number, or a "
            "row of numbers, for each example"
        )
    length = 1 if targets.ndim == 1 else targets.shape[1]
    probe = _Probe(loss, outputs, targets)
    task, one_hot = _task(probe, width, length)
    return Form(
        task=task,
        width=width,
        flat_outputs=outputs.ndim == 1,
        probabilities=_between_0_and_1(outputs, task) and probe.takes_probabilities(task, one_hot),
        one_hot=one_hot,
        row=tuple(targets.shape[1:]),
        dtype=targets.dtype,
    )


def _task(probe: _Probe, width: int, length: int) -> tuple[SingleTask, bool]:
    """The task, and whether classes come as one-hot rows."""
    targets = probe.targets
    whole = not targets.is_floating_point()
    binary = bool(((targets == 0) | (targets == 1)).all())
    if length == 1 and width > 1:
        if whole or bool((targets == targets.round()).all()):
            return "single_label", False
        return "regression", False  # with too many outputs, which the checks tell
    if length == 1 and whole and not (binary and probe.works()):
        return ("regression" if probe.works() and not binary else "single_label"), False
    if not binary:
        return "regression", False
    if length > 1 and bool((targets.sum(1) == 1).all()) and not probe.is_by_label():
        return "single_label", True
    return ("regression" if probe.is_distance() else "multi_label"), False


def _between_0_and_1(outputs: Tensor, task: SingleTask) -> bool:
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    if task != "single_label":
        return inside
    return inside and torch.allclose(outputs.sum(1), torch.ones_like(outputs[:, 0]), atol=1e-3)


class _Probe:
    """Asks the user's loss for its values on made-up outputs, in the form of the model's."""

    def __init__(self, loss: LossCallable, outputs: Tensor, targets: Tensor) -> None:
        count = min(64, len(targets))
        self._loss = loss
        self.targets = targets
        self._some = targets[:count].to(outputs.device)
        shape = (count, *outputs.shape[1:])
        self._made_up = torch.randn(shape, generator=generator(0, "probe")).to(outputs.device)
        self._fits = self._made_up.numel() == self._some.numel()

    def works(self) -> bool:
        """Whether the loss can be computed at all."""
        return self._value(lambda made_up: made_up) is not None

    def is_distance(self) -> bool:
        """Whether it is 0 where the outputs are the targets, and was not made for probabilities."""
        if self.takes_probabilities("multi_label", one_hot=False):
            return False
        found = self._value(lambda made_up: self._some.to(made_up.dtype).view_as(made_up))
        return found is not None and abs(found) < 1e-6

    def is_by_label(self) -> bool:
        """Whether it is a binary cross-entropy, of logits or of probabilities."""
        given = self._some.float()
        if not self._fits:
            return False
        logits = self._value(lambda made_up: made_up)
        expected = F.binary_cross_entropy_with_logits(self._made_up.view_as(given), given)
        return _close(logits, expected) or self.takes_probabilities("multi_label", one_hot=False)

    def takes_probabilities(self, task: SingleTask, one_hot: bool) -> bool:
        """Whether it is the cross-entropy of its arguments as they are."""
        if task == "regression" or (task == "multi_label" and not self._fits):
            return False
        if task == "multi_label":
            found = self._value(torch.sigmoid)
            given = self._some.float().view_as(self._made_up)
            return _close(found, F.binary_cross_entropy(self._made_up.sigmoid(), given))
        labels = self._some.argmax(1) if one_hot else self._some.reshape(-1).long()
        if int(labels.min()) < 0 or int(labels.max()) >= self._made_up.shape[1]:
            return False
        found = self._value(lambda made_up: made_up.softmax(1))
        return _close(found, F.nll_loss(self._made_up.log_softmax(1), labels))

    def _value(self, of: Callable[[Tensor], Tensor]) -> float | None:
        """The loss of outputs made of the made-up ones; None if it fails."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of shapes that don't fit
            try:
                return float(self._loss(of(self._made_up), self._some))
            except Exception:  # what a loss raises for what it wasn't made for can be anything
                return None


def _close(value: float | None, expected: Tensor) -> bool:
    return value is not None and math.isclose(value, float(expected), rel_tol=1e-4)
