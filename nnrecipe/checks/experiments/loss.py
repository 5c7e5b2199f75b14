"""Suspects in what training makes small: the loss, what it is given, the penalties."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.checks.experiments.conditions import Removal, Scene, Suspect
from nnrecipe.core.causes import Cause
from nnrecipe.losses import LossCallable

LOSS = "lecture: loss functions"


def _log_outputs(scene: Scene) -> Removal | None:
    """Probabilities turned back into logits before the loss."""
    with torch.no_grad():
        outputs = scene.bench.make_model().eval()(scene.held.inputs)
    if scene.bench.outputs.task in ("regression", "several") or not bool(
        ((outputs >= 0) & (outputs <= 1)).all()
    ):
        return None
    sums = torch.allclose(outputs.sum(1), torch.ones_like(outputs[:, 0]), atol=1e-3)
    loss = scene.bench.make_loss()

    def of_logits(probabilities: Tensor, targets: Tensor) -> Tensor:
        inside = probabilities.clamp(1e-7, 1 - 1e-7)
        return loss(inside.log() if sums else inside.logit(), targets)

    cause = Cause.DOUBLE_SOFTMAX if sums else Cause.SIGMOID_LOGITS
    return Removal(scene.conditions().with_setup(loss=of_logits), cause=cause)


def _mean_loss(scene: Scene) -> Removal | None:
    loss, batch = scene.bench.make_loss(), scene.batches[0]
    with torch.no_grad():
        outputs = scene.bench.make_model().eval()(batch.inputs)
        once = float(loss(outputs, batch.targets))
        twice = float(loss(outputs.repeat(2, 1), torch.cat([batch.targets, batch.targets])))
    if not once or not math.isclose(twice / once, 2.0, abs_tol=0.1):
        return None

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets) / len(targets)

    return Removal(scene.conditions().with_setup(loss=mean))


def _cross_entropy(scene: Scene) -> Removal | None:
    if scene.bench.outputs.task != "single_label" or scene.bench.chance is not None:
        return None
    usual: LossCallable = F.cross_entropy
    return Removal(scene.conditions().with_setup(loss=usual), ("loss.kind=cross_entropy",))


def _no_penalty(scene: Scene) -> Removal | None:
    bench = scene.bench
    decays = any(group.get("weight_decay") for group in scene.optimizer.param_groups)
    if not (bench.penalty.active or decays or bench.limits.weight_norm is not None):
        return None
    bare = scene.conditions(regularized=False)
    conditions = bare.with_setup(loss=bench.make_loss(), mixing=bench.mixing)
    return Removal(conditions)


LOSSES: tuple[Suspect, ...] = (
    Suspect(
        "outputs turned back into logits",
        Cause.DOUBLE_SOFTMAX,
        remove=_log_outputs,
        advice=(
            "Drop the softmax or sigmoid at the end of the network: the loss has its own, and of "
            "probabilities it can't fall below ln(1 + (C - 1) / e)."
        ),
        source=LOSS,
        others=frozenset({Cause.SIGMOID_LOGITS}),
    ),
    Suspect(
        "mean of the loss over the batch",
        Cause.SUM_REDUCTION,
        remove=_mean_loss,
        advice=(
            "Take the mean over the batch, not the sum: a sum multiplies the learning rate by the"
            " batch size."
        ),
        source=LOSS,
    ),
    Suspect(
        "cross-entropy as the loss",
        Cause.LOSS_MISMATCH,
        remove=_cross_entropy,
        advice=(
            "Use cross_entropy: with your own loss the same network learns far less in as many "
            "steps."
        ),
        source=LOSS,
    ),
    Suspect(
        "without weight decay and penalties",
        Cause.OVER_REGULARIZED,
        remove=_no_penalty,
        advice=(
            "Lower regularization.l2, l1 or optimizer.weight_decay, by factors of ten: it pulls "
            "the weights to zero faster than the data pull them away."
        ),
        source="lecture: regularization",
    ),
)
