"""Regularization: penalties and bounds on the weights, omissions, mixtures, early stopping."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from nnrecipe.core.spec import NonNegativeFloat, PositiveFloat, Probability, Spec
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.regularization.early_stopping import EarlyStopping
from nnrecipe.regularization.max_norm import limit_norms
from nnrecipe.regularization.mixing import Alpha, Mixed, Mixing
from nnrecipe.regularization.penalty import Penalty, penalized

__all__ = [
    "EarlyStopping",
    "Mixed",
    "Mixing",
    "Penalty",
    "Regularization",
    "limit_norms",
    "penalized",
]


class Regularization(Spec):
    """What holds a network back from learning its training set by heart.

    The penalties follow the lecture: J = mean loss + l2 * sum(W^2) + l1 * sum(|W|), over weights
    only; both at once are the elastic net. Their gradient goes through the optimizer. The
    `weight_decay` of sgd with a value of 2 * l2 is the same as `l2`; adam, which divides by the
    gradient's size, divides the penalty's part as well, and decays large gradients' weights less.
    The decay of adamw is decoupled from that: it shrinks all weights at one rate, lr *
    weight_decay, and is no term of J (Loshchilov and Hutter 2019).
    """

    source: ClassVar[str] = "lecture: regularization"

    l1: NonNegativeFloat = Field(
        0.0, description="factor on the sum of |W|, added to the loss; with l2: an elastic net"
    )
    l2: NonNegativeFloat = Field(
        0.0,
        description="factor on the sum of W^2, added to the loss; adamw's weight_decay is no such "
        "term: it shrinks weights apart from the gradient",
    )
    dropout: Dropout | None = Field(
        None, description="units to drop; a number is a probability; null: the architecture's own"
    )
    dropblock: DropBlock | None = Field(
        None, description="squares of the feature maps to drop; null: none"
    )
    stochastic_depth: Probability = Field(
        0.0,
        description="probability of leaving out the last residual block; earlier ones less",
        json_schema_extra={"source": "Huang et al. 2016"},
    )
    mixup: Alpha = Field(
        0.0,
        description="mix pairs of examples, the share from Beta(a, a): this is a; 0: don't",
        json_schema_extra={"source": "Zhang et al. 2018"},
    )
    cutmix: Alpha = Field(
        0.0,
        description="paste a box of one image into another, area from Beta(a, a); 0: don't",
        json_schema_extra={"source": "Yun et al. 2019"},
    )
    max_norm: PositiveFloat | None = Field(
        None,
        description="largest norm of the weights into one unit, after each step; null: any",
        json_schema_extra={"source": "Srivastava et al. 2014, section 5.1"},
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="when to stop before the last epoch; null for never"
    )

    def penalty(self) -> Penalty:
        """The penalty term of the objective."""
        return Penalty(l1=self.l1, l2=self.l2)

    def mixing(self) -> Mixing:
        """What mixes the examples of a training batch; falsy if nothing does."""
        return Mixing(mixup=self.mixup, cutmix=self.cutmix)
