"""Fully connected networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.refusals import NO_BRANCH, refuse
from nnrecipe.core.errors import conflict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Count
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import Relu
from nnrecipe.layers.blocks import LayerStyle
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.width import Width, widened


class Mlp(ArchitectureSpec):
    """Linear, norm, activation, dropout for each hidden layer, and a linear layer at the end.

    Images are flattened. Without hidden layers it is softmax regression.
    """

    source: ClassVar[str] = "Rumelhart et al. 1986"

    kind: Literal["mlp"] = "mlp"
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = "kaiming_normal"
    refuses: ClassVar[Mapping[str, str]] = {
        "regularization.dropblock": "an mlp has no pixels to drop squares of: use dropout",
        "regularization.stochastic_depth": NO_BRANCH,
    }
    widths: tuple[Count, ...] = Field((100,), description="units of each hidden layer, in order")
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")
    width: Width = 1.0
    depth: Annotated[Count, Field(le=1000)] = Field(
        1, description="how often each hidden layer is repeated: [100] with 20 is 20 layers of 100"
    )

    @model_validator(mode="after")
    def _has_something_to_change(self) -> Self:
        for key, factor in (("width", self.width), ("depth", self.depth)):
            if factor != 1 and not self.widths:
                message = f"got {factor:g}, but there are no hidden layers"
                raise conflict(f"architecture.{key}", message, "give architecture.widths")
        return self

    def check_inputs(self, inputs: InputShape) -> None:
        """Any shape will do."""

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, *inputs]` -> `[N, outputs.size]`."""
        refuse(self, hidden)
        style = LayerStyle(hidden.norm, self.activation)
        units = [widened(w, self.width) for w in self.widths for _ in range(self.depth)]
        rates = hidden.dropout_rates(len(units))
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if len(inputs) > 1:
            layers["flatten"] = nn.Flatten()
        features = math.prod(inputs)
        for i, (size, rate) in enumerate(zip(units, rates, strict=True), start=1):
            layers.update((f"{name}{i}", module) for name, module in style.linear(features, size))
            if rate:
                layers[f"drop{i}"] = nn.Dropout(rate)
            features = size
        layers[f"fc{len(units) + 1}"] = nn.Linear(features, outputs.size)
        return nn.Sequential(layers)
