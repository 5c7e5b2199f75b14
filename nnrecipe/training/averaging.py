"""Averages of the weights over a training, which often generalize better than its last weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnrecipe.core.device import Precision, autocast
from nnrecipe.core.spec import ByKind, Flag, Fraction, Probability, Spec
from nnrecipe.data.batch import Batch


class NoAveraging(Spec):
    """The weights as they are."""

    source: ClassVar[str] = "lecture: optimization"

    kind: Literal["none"] = "none"

    def build(self, model: nn.Module, *, epochs: int) -> Average:  # noqa: ARG002
        """What evaluates and keeps the model itself."""
        return Average(model)


class Ema(Spec):
    """The exponential moving average of the weights, updated after every optimizer step.

    average <- d * average + (1 - d) * weights, for the running statistics of batch norms too. At
    update t, d is the smaller of `decay` and (1 + t) / (10 + t), or a short training's average
    would be mostly its start; without `warmup`, d is `decay`.
    """

    source: ClassVar[str] = "Polyak & Juditsky 1992; tf.train.ExponentialMovingAverage"

    kind: Literal["ema"] = "ema"
    decay: Fraction = Field(0.999, description="share of the average that an update keeps")
    warmup: Flag = Field(True, description="at update t, keep no more than (1 + t) / (10 + t)")

    def build(self, model: nn.Module, *, epochs: int) -> Average:  # noqa: ARG002
        """The average over the steps of `model`, from the first on."""
        return StepAverage(model, decay=self.decay, warmup=self.warmup)


class Swa(Spec):
    """Stochastic weight averaging: the mean of the weights at the ends of the last epochs.

    The running statistics of batch norms are then computed anew, over the training split.
    """

    source: ClassVar[str] = "Izmailov et al. 2018, algorithm 1"

    kind: Literal["swa"] = "swa"
    start: Probability = Field(0.75, description="share of the epochs that pass before the first")

    def build(self, model: nn.Module, *, epochs: int) -> Average:
        """The average over the epochs of `model`, from `first_epoch` on."""
        return EpochAverage(model, first_epoch=self.first_epoch(epochs))

    def first_epoch(self, epochs: int) -> int:
        """The number of the first epoch that counts: `start * epochs`, rounded up; at least 1."""
        rounding = 1e-9  # 0.55 * 20 is a little above 11
        return max(1, math.ceil(self.start * epochs - rounding))


Averaging = Annotated[NoAveraging | Ema | Swa, ByKind()]


class Average:
    """What is evaluated and kept of a training: here, the trained model itself."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = model

    @property
    def model(self) -> nn.Module:
        """The averaged model as of the last epoch; while there is no average, the trained one."""
        return self._trained

    @property
    def follows_steps(self) -> bool:
        """Whether `after_step` has to see the weights of every step."""
        return False

    @property
    def needs_statistics(self) -> bool:
        """Whether the model's running statistics are not those of its weights."""
        return False

    def after_step(self) -> None:
        """Take in the weights after an optimizer step."""

    def after_epoch(self, epoch: int) -> None:
        """Take in the weights at the end of an epoch; the first has number 1."""

    @property
    def updates(self) -> int:
        """How often weights were taken in: with `model`, all there is to know of an average."""
        return 0

    def restore(self, state: Mapping[str, Tensor], *, updates: int) -> None:
        """Become the average whose `model` had this state dict after so many updates."""


class _Copy(Average):
    """An average in a copy of the model, which has the same parameters and buffers by name."""

    def __init__(self, model: nn.Module, *, statistics: bool) -> None:
        super().__init__(model)
        self._copy = deepcopy(model).train()
        self._means = _averaged(self._copy, statistics=statistics)
        self._values = _averaged(model, statistics=statistics)
        self._updates = 0

    @property
    def model(self) -> nn.Module:
        """The copy, once it has taken in some weights."""
        return self._copy if self._updates else self._trained

    @property
    def updates(self) -> int:
        """See `Average.updates`."""
        return self._updates

    def restore(self, state: Mapping[str, Tensor], *, updates: int) -> None:
        """See `Average.restore`."""
        self._updates = updates
        if updates:  # the first one overwrites whatever there was
            self._copy.load_state_dict(state)

    @torch.no_grad()
    def _move(self, share: float) -> None:
        """Move the averages by a share of their way to the values, without waiting for the device.

        The first update moves them all the way.
        """
        torch._foreach_lerp_(self._means, self._values, share if self._updates else 1.0)
        self._updates += 1

    @torch.no_grad()
    def _copy_the_rest(self) -> None:
        """Take over what isn't averaged: counters, masks and the like."""
        averaged = {id(mean) for mean in self._means}
        pairs = zip(_tensors(self._copy), _tensors(self._trained), strict=True)
        for ours, theirs in pairs:
            if id(ours) not in averaged:
                ours.copy_(theirs)


class StepAverage(_Copy):
    """The exponential moving average over the steps."""

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool) -> None:
        super().__init__(model, statistics=True)
        self._decay, self._warmup = decay, warmup

    @property
    def follows_steps(self) -> bool:
        """It does."""
        return True

    def after_step(self) -> None:
        """Take in the weights and the running statistics."""
        t = self._updates
        kept = min(self._decay, (1 + t) / (10 + t)) if self._warmup else self._decay
        self._move(1 - kept)

    def after_epoch(self, epoch: int) -> None:  # noqa: ARG002
        """Take over the rest, for the evaluation that follows."""
        self._copy_the_rest()


class EpochAverage(_Copy):
    """The mean over the epochs from `first_epoch` on, each of which counts the same."""

    def __init__(self, model: nn.Module, *, first_epoch: int) -> None:
        super().__init__(model, statistics=False)
        self._first_epoch = first_epoch
        self._has_statistics = bool(_batch_norms(self._copy))

    @property
    def needs_statistics(self) -> bool:
        """Whether there are batch norms, whose statistics are the trained model's."""
        return self._has_statistics and self._updates > 1

    def after_epoch(self, epoch: int) -> None:
        """Take in the weights, if the averaging has begun."""
        if epoch >= self._first_epoch:
            self._move(1 / (self._updates + 1))
            self._copy_the_rest()


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _averaged(model: nn.Module, *, statistics: bool) -> list[Tensor]:
    """The parameters and, if asked for, the running statistics of batch norms.

    No other buffer: the average of a mask's infinities is not a number.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    running = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
    kept = [tensor for tensor in running if statistics and tensor is not None]
    return [*(p for p in model.parameters() if p.is_floating_point()), *kept]


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that update their running statistics, in a model that is in train mode."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.training and norm.track_running_stats]


@torch.no_grad()
def recompute_statistics(
    model: nn.Module, batches: Iterable[Batch], *, precision: Precision = "fp32"
) -> None:
    """Set the running statistics of batch norms to their means over the batches.

    As `torch.optim.swa_utils.update_bn`, but frozen batch norms stay as they are. The model is left
    in the mode it was in.
    """
    was_training = model.training
    norms = _batch_norms(model.train())
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts the same
    for inputs, _ in batches:
        with autocast(inputs.device, precision):
            model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
