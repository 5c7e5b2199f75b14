"""How good a model is on a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnrecipe.core.device import Precision, autocast
from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable


@dataclass(frozen=True)
class Evaluation:
    """The mean loss and the confusion matrix of a split.

    `confusion`: [C, C] counts on the CPU, a row for each true class, a column for each prediction.
    """

    loss: float
    confusion: Tensor

    @property
    def examples(self) -> int:
        """How many examples were evaluated."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of examples whose largest logit is their target."""
        return float(self.confusion.diagonal().sum() / self.confusion.sum())

    @property
    def recall(self) -> Tensor:
        """[C] The share of each class that is recognised; NaN for a class without examples."""
        return self.confusion.diagonal() / self.confusion.sum(1)

    @property
    def precision(self) -> Tensor:
        """[C] The share of each class's predictions that are right; NaN if there are none."""
        return self.confusion.diagonal() / self.confusion.sum(0)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: LossCallable,
    *,
    num_classes: int,
    precision: Precision = "fp32",
) -> Evaluation:
    """Evaluate in eval mode, and leave the model in the mode it was in.

    The loss is the mean over the batches, weighted by their sizes.
    """
    was_training = model.training
    model.eval()
    losses: list[Tensor] = []
    sizes: list[int] = []
    confusion: Tensor | None = None
    for inputs, targets in batches:
        with autocast(inputs.device, precision):
            logits = model(inputs)
            losses.append(loss(logits, targets))
        sizes.append(len(targets))
        # A model with more outputs than there are classes still has a place for every prediction.
        side = max(num_classes, logits.shape[1])
        pairs = torch.bincount(targets * side + logits.argmax(1), minlength=side * side)
        confusion = pairs if confusion is None else confusion + pairs
    model.train(was_training)
    if confusion is None:
        raise ValueError("there is nothing to evaluate: the split is empty")
    weights = torch.tensor(sizes, dtype=torch.float64)
    mean = (torch.stack(losses).cpu().double() * weights).sum() / weights.sum()
    side = int(len(confusion) ** 0.5)
    return Evaluation(loss=float(mean), confusion=confusion.cpu().view(side, side))
