"""A network from the user's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.refusals import everything, refuse
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.targets import Target, accepted, blaming, call_target, import_target
from nnrecipe.layers import Activation
from nnrecipe.layers.hidden import Hidden

PATH = "architecture.target"


class CustomArchitecture(ArchitectureSpec):
    """A callable that returns an `nn.Module` mapping `[N, *inputs]` to outputs `[N, num_outputs]`.

    It is called with `args`, and with `inputs` (the shape of one example) and `num_classes` or
    `num_outputs` (the same number) where it takes keywords of these names; `args` go first. Norm
    and dropout are its own affair, and it keeps its initial weights unless `init` is given.
    """

    source: ClassVar[str] = "your own code"
    kind: Literal["custom"] = "custom"
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = None
    refuses: ClassVar[Mapping[str, str]] = everything(
        "can't be put into a custom architecture: leave it out, and do it in the network's own code"
    )
    activation: ClassVar[Activation | None] = None
    target: Target = Field(description="package.module:callable")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")

    def check_inputs(self, inputs: InputShape) -> None:
        """Nothing is known of a user's own network before it runs."""

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """What the target returns. Raises `UserError` if it fails or is no `nn.Module`."""
        refuse(self, hidden)
        function = import_target(PATH, self.target)
        size = outputs.size
        with blaming(PATH, self.target):  # some of C's callables tell no signature
            offers = accepted(function, inputs=inputs, num_classes=size, num_outputs=size)
        model = call_target(PATH, self.target, **{**offers, **self.args})
        if not isinstance(model, nn.Module):
            found = type(model).__name__
            raise UserError(f"{PATH}: {self.target} returned {found}, not a torch.nn.Module")
        return model
