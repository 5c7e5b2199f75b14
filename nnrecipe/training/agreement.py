"""How good members and their average are on a split, and how far the members' errors differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from nnrecipe.core.device import Precision, autocast
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.data.batch import Batch
from nnrecipe.training.ensembles import Ensemble, averaged
from nnrecipe.training.scores import score_of

BINS = 15
"""Guo et al. 2017, section 4."""


@dataclass(frozen=True)
class Agreement:
    """What members `[M, N, C]` and their average `[N, C]` put out, on the CPU, and what is true."""

    members: Tensor
    average: Tensor
    targets: Tensor
    outputs: OutputSpec

    def member_figures(self) -> list[dict[str, float]]:
        """The figures of each member."""
        return [figures(made, self.targets, self.outputs) for made in self.members]

    def average_figures(self) -> dict[str, float]:
        """The figures of the average."""
        return figures(self.average, self.targets, self.outputs)

    @property
    def disagreement(self) -> float:
        """The mean over pairs of members of the share of answers in which they differ.

        In a regression: of the root mean square of their difference, in the target's unit.
        """
        said = [answers(made, self.outputs.task) for made in self.members]
        apart = [(one - other) for one, other in combinations(said, 2)]
        if self.outputs.task == "regression":
            return _mean(float(part.square().mean().sqrt()) for part in apart)
        return _mean(float((part != 0).double().mean()) for part in apart)

    @property
    def error_correlation(self) -> float | None:
        """The mean over pairs of the correlation of their errors; None if a member makes none.

        An error is 1 or 0 of an answer, and in a regression the estimate less the target.
        """
        errors = torch.stack([_errors(made, self.targets, self.outputs) for made in self.members])
        centred = errors - errors.mean(1, keepdim=True)
        norms = centred.norm(dim=1)
        if not bool((norms > 0).all()):
            return None
        unit = centred / norms[:, None]
        return _mean(float(unit[i] @ unit[j]) for i, j in combinations(range(len(unit)), 2))


@torch.inference_mode()
def agree(
    ensemble: Ensemble,
    batches: Iterable[Batch],
    *,
    outputs: OutputSpec,
    precision: Precision = "fp32",
) -> Agreement:
    """What the members say of a split, all in eval mode."""
    ensemble.eval()
    made, targets = list[Tensor](), list[Tensor]()
    for inputs, true in batches:
        with autocast(inputs.device, precision):
            said = ensemble.outputs(inputs)
        made.append(said.cpu())
        targets.append(true.cpu())
    members = torch.cat(made, dim=1)
    average = averaged(members, task=ensemble.task, average=ensemble.average)
    return Agreement(members, average, torch.cat(targets), outputs)


def figures(made: Tensor, targets: Tensor, outputs: OutputSpec) -> dict[str, float]:
    """The task's score, and of classes and labels NLL (in nats) and ECE; of outputs `[N, C]`."""
    score = score_of(outputs)
    score.add(made, targets)
    match outputs.task:
        case "single_label":
            confidence, said = made.double().softmax(1).max(1)
            nll = float(cross_entropy(made.double(), targets))
            error = calibration_error(confidence, said == targets)
        case "multi_label":
            nll = float(binary_cross_entropy_with_logits(made.double(), targets.double()))
            right = (made > 0) == (targets > 0.5)
            error = calibration_error(made.double().abs().sigmoid().flatten(), right.flatten())
        case "regression":
            return score.figures()
        case "several":
            raise AssertionError("the recipe's rules refuse ensembles of several tasks")
        case unknown:
            assert_never(unknown)
    return score.figures() | {"nll": nll, "ece": error}


def calibration_error(confidence: Tensor, right: Tensor, *, bins: int = BINS) -> float:
    """ECE: |accuracy - mean confidence| in equal bins of confidence, a mean over the examples.

    `confidence` and `right` are `[N]`; a bin holds its upper edge. Guo et al. 2017, equation 3.
    """
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, place, right.double() - confidence.double())
    return float(gaps.abs().sum() / len(confidence))


def answers(made: Tensor, task: Task) -> Tensor:
    """What outputs `[N, C]` say, flat: classes, labels as 0 and 1, or values."""
    match task:
        case "single_label":
            return made.argmax(1)
        case "multi_label":
            return (made > 0).long().flatten()
        case "regression":
            return made.double().flatten()
        case "several":
            raise AssertionError("the recipe's rules refuse ensembles of several tasks")
        case unknown:
            assert_never(unknown)


def _errors(made: Tensor, targets: Tensor, outputs: OutputSpec) -> Tensor:
    if outputs.task == "regression":
        return (made[:, : targets.shape[1]].double() - targets.double()).flatten()
    said = answers(made, outputs.task)
    return (said != targets.long().flatten()).double()


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
