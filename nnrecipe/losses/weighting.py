"""How much each of several tasks counts in the sum of their losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.shapes import Head
from nnrecipe.core.spec import ByKind, NonNegativeFloat, PositiveFloat, Spec

BETAS, EPS = (0.9, 0.999), 1e-8
"""Adam's usual ones, for the weights of GradNorm."""
LEAST = 1e-3
"""Below it GradNorm's weights don't fall: at 0 a task would be lost for good."""


class Weighting(nn.Module):
    """Makes one loss of those of T tasks."""

    factors: Tensor

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors))

    def begin(self, losses: Tensor) -> None:
        """Take note of the losses `[T]` that the untrained model has."""

    def weights(self) -> Tensor:
        """[T] By what each loss is multiplied now."""
        return self.factors

    def forward(self, losses: Tensor) -> Tensor:
        """losses: [T] -> a scalar."""
        return (self.weights() * losses).sum()


class Scaled(Weighting):
    """Each loss divided by what it was at the start."""

    def begin(self, losses: Tensor) -> None:
        """See `Weighting.begin`. A loss that is zero or not finite is left as it is."""
        sizes = losses.detach().abs().to(self.factors)
        usable = sizes.isfinite() & (sizes > 0)
        self.factors.div_(torch.where(usable, sizes, 1.0))


class Learned(Weighting):
    """sum(c * exp(-s) * loss + s / 2) with a log-variance s for each task, a parameter."""

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__(factors)
        self.log_variance = nn.Parameter(torch.zeros(len(factors)))

    def weights(self) -> Tensor:
        """See `Weighting.weights`."""
        return self.factors * (-self.log_variance.detach()).exp()

    def forward(self, losses: Tensor) -> Tensor:
        """See `Weighting.forward`."""
        scaled = self.factors * (-self.log_variance).exp() * losses
        return (scaled + self.log_variance / 2).sum()


class Balanced(Weighting):
    """Weights that are moved until all tasks train at similar rates; see `GradNorm`."""

    first: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, count: int, *, alpha: float, lr: float) -> None:
        super().__init__([1.0] * count)
        self.alpha, self.lr = alpha, lr
        self.register_buffer("first", torch.ones(count))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("square", torch.zeros(count))
        self.register_buffer("steps", torch.zeros(()))

    def begin(self, losses: Tensor) -> None:
        """See `Weighting.begin`."""
        self.first.copy_(losses.detach())

    @torch.no_grad()
    def targets(self, norms: Tensor, losses: Tensor) -> Tensor:
        """[T] The gradient norms to come to: their mean, times (how far a task is behind)^alpha.

        `norms: [T]` are those of the losses without weights.
        """
        behind = losses / self.first
        behind = behind / behind.mean()
        return (self.factors * norms).mean() * behind.clamp_min(0) ** self.alpha

    @torch.no_grad()
    def move(self, norms: Tensor, losses: Tensor) -> None:
        """One step of Adam down sum(|weight * norm - target|), the target held fixed.

        The weights are then scaled so that they add up to T.
        """
        norms, losses = norms.to(self.factors), losses.detach().to(self.factors)
        wanted = self.targets(norms, losses)
        if not bool(wanted.isfinite().all() & norms.isfinite().all()):
            return
        slope = (self.factors * norms - wanted).sign() * norms
        self.steps += 1
        self.mean.lerp_(slope, 1 - BETAS[0])
        self.square.lerp_(slope.square(), 1 - BETAS[1])
        step = self.mean / (1 - BETAS[0] ** self.steps)
        size = (self.square / (1 - BETAS[1] ** self.steps)).sqrt() + EPS
        self.factors.sub_(self.lr * step / size).clamp_min_(LEAST)
        self.factors.mul_(len(self.factors) / self.factors.sum())


class WeightingSpec(Spec):
    """How the weights of several tasks come about."""

    measures: ClassVar[bool] = False
    """Whether it has to know the untrained model's losses."""
    learns: ClassVar[bool] = False
    """Whether the weights change as training goes on."""

    def build(self, heads: Sequence[Head]) -> Weighting:
        """The weighting of these tasks' losses."""
        raise NotImplementedError

    def named(self) -> frozenset[str]:
        """The tasks that it names."""
        return frozenset()


class Fixed(WeightingSpec):
    """Each loss counts as often as `factors` say, from first to last."""

    source: ClassVar[str] = "Caruana 1997"

    kind: Literal["fixed"] = "fixed"
    factors: dict[str, PositiveFloat] = Field(
        {}, description="how many times a task's loss counts, by its name; 1 where it isn't named"
    )

    def build(self, heads: Sequence[Head]) -> Weighting:
        """See `WeightingSpec.build`."""
        return Weighting([self.factors.get(head.name, 1.0) for head in heads])

    def named(self) -> frozenset[str]:
        """See `WeightingSpec.named`."""
        return frozenset(self.factors)


class Auto(WeightingSpec):
    """Every loss starts at 1: it is divided by what the untrained model has, times its factor.

    That is measured over the first training batches, and stays.
    """

    source: ClassVar[str] = "lecture: numerical stability, sub-losses of magnitude 1"
    measures: ClassVar[bool] = True

    kind: Literal["auto"] = "auto"
    factors: dict[str, PositiveFloat] = Field(
        {}, description="how many times a task's loss counts, beside 1 over its first value"
    )

    def build(self, heads: Sequence[Head]) -> Weighting:
        """See `WeightingSpec.build`."""
        return Scaled([self.factors.get(head.name, 1.0) for head in heads])

    def named(self) -> frozenset[str]:
        """See `WeightingSpec.named`."""
        return frozenset(self.factors)


class Uncertainty(WeightingSpec):
    """Learned with the network: sum(c * exp(-s) * loss + s / 2), where s is ln(noise variance).

    c is 1 of classes and labels, and 1/2 of a regression. The optimizer trains s at the learning
    rate, from 0 on and without weight decay; at its best exp(s) is 2 c times the loss.
    """

    source: ClassVar[str] = "Kendall et al. 2018, section 3.2"
    learns: ClassVar[bool] = True

    kind: Literal["uncertainty"] = "uncertainty"

    def build(self, heads: Sequence[Head]) -> Weighting:
        """See `WeightingSpec.build`."""
        return Learned([0.5 if head.outputs.task == "regression" else 1.0 for head in heads])


class GradNorm(WeightingSpec):
    """Weights by which the tasks' gradients in the last shared layer come to similar norms.

    A task that has come less far, by its loss over that of the untrained model, is to have a larger
    one: the mean norm times (that ratio / the mean ratio)^alpha. The weights add up to the number
    of tasks.
    """

    source: ClassVar[str] = "Chen et al. 2018, section 3 and algorithm 1"
    measures: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    kind: Literal["grad_norm"] = "grad_norm"
    alpha: NonNegativeFloat = Field(
        1.5, description="how hard a task that lags behind is pulled along; 0: all norms alike"
    )
    lr: PositiveFloat = Field(0.025, description="learning rate of the weights, which Adam moves")

    def build(self, heads: Sequence[Head]) -> Weighting:
        """See `WeightingSpec.build`."""
        return Balanced(len(heads), alpha=self.alpha, lr=self.lr)


TaskWeights = Annotated[Fixed | Auto | Uncertainty | GradNorm, ByKind(default="fixed")]
