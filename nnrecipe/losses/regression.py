"""The losses of estimated numbers: each a function of the error, averaged over all of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import PositiveFloat
from nnrecipe.losses.base import LossSpec
from nnrecipe.losses.function import ElementwiseLoss


class RegressionLoss(LossSpec):
    """A mean over the N examples and the D numbers of each."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"regression"})

    def function(self, outputs: OutputSpec) -> ElementwiseLoss:  # noqa: ARG002 - the family's verb
        """(estimates [N, D], targets [N, D]) -> mean loss."""
        return ElementwiseLoss(self.module())

    def module(self) -> nn.Module:
        """Torch's own."""
        raise NotImplementedError

    def chance_level(self, outputs: OutputSpec) -> float | None:  # noqa: ARG002
        """Unknown: it takes more of the targets' distribution than their mean and spread."""
        return None


class Mse(RegressionLoss):
    """The squared error, which the targets' mean makes smallest."""

    source: ClassVar[str] = "torch.nn.MSELoss"

    kind: Literal["mse"] = "mse"

    def module(self) -> nn.Module:
        """Torch's own."""
        return nn.MSELoss()

    def chance_level(self, outputs: OutputSpec) -> float | None:
        """The loss of the best constant, the targets' mean: their variance, averaged over D."""
        spreads = outputs.target_std
        return sum(std**2 for std in spreads) / len(spreads) if spreads else None


class L1(RegressionLoss):
    """The absolute error, which the targets' median makes smallest: outliers pull it less."""

    source: ClassVar[str] = "torch.nn.L1Loss"

    kind: Literal["l1"] = "l1"

    def module(self) -> nn.Module:
        """Torch's own."""
        return nn.L1Loss()


class SmoothL1(RegressionLoss):
    """e^2 / (2 beta) for errors |e| below beta, |e| - beta / 2 for larger ones."""

    source: ClassVar[str] = "torch.nn.SmoothL1Loss; Girshick 2015, section 2.3"

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: PositiveFloat = Field(
        1.0, description="error at which the square turns into a line, in the targets' unit"
    )

    def module(self) -> nn.Module:
        """Torch's own."""
        return nn.SmoothL1Loss(beta=self.beta)


class Huber(RegressionLoss):
    """e^2 / 2 for errors |e| below delta, delta * (|e| - delta / 2) for larger ones.

    It is delta times `smooth_l1`: near 0 it stays the squared error whatever delta is.
    """

    source: ClassVar[str] = "torch.nn.HuberLoss; Huber 1964"

    kind: Literal["huber"] = "huber"
    delta: PositiveFloat = Field(
        1.0, description="error at which the square turns into a line, in the targets' unit"
    )

    def module(self) -> nn.Module:
        """Torch's own."""
        return nn.HuberLoss(delta=self.delta)
