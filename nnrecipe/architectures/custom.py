"""A network from the user's own code."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Spec
from nnrecipe.core.targets import Target, accepted, blaming, call_target, import_target
from nnrecipe.layers import Activation, Norm

PATH = "architecture.target"


class CustomArchitecture(Spec):
    """A callable that returns an `nn.Module` mapping `[N, *inputs]` to logits `[N, num_classes]`.

    It is called with `args`, and with `inputs` (the shape of one example) and `num_classes` where
    it takes keywords of these names; `args` go first. Norm and dropout are its own affair.
    """

    kind: Literal["custom"] = "custom"
    default_norm: ClassVar[str] = "none"
    takes_norm: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = False
    activation: ClassVar[Activation | None] = None
    target: Target = Field(description="package.module:callable")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")

    def check_inputs(self, inputs: InputShape) -> None:
        """Nothing is known of a user's own network before it runs."""

    def build(
        self, inputs: InputShape, outputs: OutputSpec, *, norm: Norm, dropout: float | None
    ) -> nn.Module:
        """What the target returns. Raises `UserError` if it fails or is no `nn.Module`."""
        if norm.normalizes:
            raise UserError(f"norm.kind: {norm.kind} can't be put into a custom architecture")
        if dropout:
            raise UserError("regularization.dropout: can't be put into a custom architecture")
        function = import_target(PATH, self.target)
        with blaming(PATH, self.target):  # some of C's callables tell no signature
            offers = accepted(function, inputs=inputs, num_classes=outputs.num_classes)
        model = call_target(PATH, self.target, **{**offers, **self.args})
        if not isinstance(model, nn.Module):
            found = type(model).__name__
            raise UserError(f"{PATH}: {self.target} returned {found}, not a torch.nn.Module")
        return model
