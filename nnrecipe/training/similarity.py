"""How like the data that a network was trained on new data are, as its features tell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnrecipe.core.shapes import Task
from nnrecipe.data.batch import Batch
from nnrecipe.layers.stages import features_at

PART = 128
"""Examples that are sent through the network at a time."""
INPUTS = "inputs"
SIDE = 4
"""The images themselves, as features, are brought to so many pixels a side."""


@dataclass(frozen=True)
class Probe:
    """How well a linear classifier does on the features at `path`, on examples it hasn't seen."""

    path: str
    features: int
    score: float


def probes(
    network: nn.Module, paths: Sequence[str], train: Batch, held: Batch, *, task: Task
) -> list[Probe]:
    """A linear probe on the inputs themselves and at each depth, in the order of `paths`.

    Of classes the score is the accuracy of a logistic regression, else the R2 of a ridge one.
    """
    fitted = _features(network, paths, train.inputs)
    judged = _features(network, paths, held.inputs)
    return [
        Probe(
            path,
            fitted[path].shape[1],
            _score(fitted[path], train.targets, judged[path], held.targets, task),
        )
        for path in (INPUTS, *paths)
    ]


@torch.inference_mode()
def _features(network: nn.Module, paths: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    """The features [N, F] of the inputs and at each path, float64 on the CPU, in eval mode."""
    parts = [features_at(network.eval(), paths, part) for part in inputs.split(PART)]
    rows = zip(paths, (torch.cat(part) for part in zip(*parts, strict=True)), strict=True)
    few = nn.functional.adaptive_avg_pool2d(inputs, SIDE) if inputs.ndim == 4 else inputs
    return {INPUTS: few.flatten(1).cpu().double()} | {p: r.cpu().double() for p, r in rows}


def _score(fitted: Tensor, targets: Tensor, judged: Tensor, held: Tensor, task: Task) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = task == "single_label"
    if classes and len(targets.unique()) < 2:
        return math.nan
    model: Any = LogisticRegression(C=0.1, max_iter=300) if classes else Ridge(alpha=10.0)
    pipeline = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(fitted.numpy(), targets.cpu().numpy())
    return float(pipeline.score(judged.numpy(), held.cpu().numpy()))


@torch.inference_mode()
def feature_distance(network: nn.Module, inputs: Tensor) -> float | None:
    """How far the network's activations on new inputs lie from those it was trained on.

    Batch norms remember the mean m and the variance v of each channel in training. With m', v' on
    the `inputs: [N, ...]` a channel's squared distance is that of Frechet between two normal
    distributions, over v: ((m' - m)^2 + (sqrt(v') - sqrt(v))^2) / v. The figure is the root of the
    mean over the channels of a layer and then over layers: 0 for the same data, in units of the
    spread in training. None without batch norms.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    seen: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def measure(norm: nn.Module, given: Any) -> None:
        rows = given[0].transpose(0, 1).flatten(1).double()
        seen[norm].append(torch.stack([rows.mean(1), rows.square().mean(1)]))

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        for part in inputs.split(PART):
            network.eval()(part)
    finally:
        for hook in hooks:
            hook.remove()
    squares = [_channel_distance(norm, found) for norm, found in seen.items() if found]
    return math.sqrt(float(torch.stack(squares).mean())) if squares else None


def _channel_distance(norm: Any, found: list[Tensor]) -> Tensor:
    mean, square = torch.stack(found).mean(0)  # parts differ in size by the last at most
    spread = (square - mean.square()).clamp_min(0).sqrt()
    before = norm.running_var.double() + norm.eps
    moved = (mean - norm.running_mean.double()).square()
    squares: Tensor = (moved + (spread - before.sqrt()).square()) / before
    return squares.mean()
