"""What all architectures have in common."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from nnrecipe.architectures.weights import Weights
from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.spec import Spec


class ArchitectureSpec(Spec):
    """A network, and the weights that it starts from where they aren't drawn at random."""

    kind: str
    weights: Weights | None = Field(
        None,
        description="weights of an earlier training: a file, torchvision's name for them, or a "
        "section; null: random ones, as init says",
    )

    @property
    def weights_of(self) -> str | None:
        """The model of torchvision that a bare name of weights, `DEFAULT` say, is looked up for."""
        return None

    @model_validator(mode="after")
    def _names_weights_that_there_are(self) -> Self:
        if self.weights is not None and self.weights.name is not None:
            try:
                self.weights.entry(self.weights_of)
            except UserError as error:
                path, _, message = str(error).partition(": ")
                raise conflict(path, message) from error
        return self
