"""Max-norm: a bound on the weights that come into a unit, instead of a price on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def limit_norms(weights: Sequence[Tensor], largest: float) -> None:
    """Scale down, in place, each output unit's incoming weights to the norm `largest` at most.

    weights: [outputs, ...] each; a unit of a convolution is a channel, whose weights are those of
    its whole kernel. Shorter vectors stay as they are. Hinton et al. 2012; Srivastava et al. 2014,
    section 5.1.
    """
    for weight in weights:
        weight.renorm_(p=2, dim=0, maxnorm=largest)
