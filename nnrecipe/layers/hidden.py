"""What a recipe puts into the hidden layers of any network that takes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from nnrecipe.layers import Norm
from nnrecipe.layers.dropblock import DropBlock
from nnrecipe.layers.dropout import Dropout
from nnrecipe.layers.norms import NoNorm


@dataclass(frozen=True)
class Hidden:
    """The norm and the random omissions; `dropout: None` leaves the architecture its own.

    `stochastic_depth` is the probability of leaving out the last residual branch.
    """

    norm: Norm = field(default_factory=NoNorm)
    dropout: Dropout | None = None
    dropblock: DropBlock | None = None
    stochastic_depth: float = 0.0

    def dropout_rates(self, places: int, *, own: float = 0.0) -> tuple[float, ...]:
        """The drop probability at each place for dropout; `own` is the architecture's.

        Raises `UserError` if a list has another number of them.
        """
        return (own,) * places if self.dropout is None else self.dropout.rates(places)

    def omitted_blocks(self) -> nn.Module | None:
        """A new DropBlock module; None if there is nothing to drop."""
        dropblock = self.dropblock
        return dropblock.build() if dropblock is not None and dropblock.active else None
