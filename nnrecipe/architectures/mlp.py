"""Fully connected networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Count, Spec
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.activations import Relu


class Mlp(Spec):
    """Linear, norm, activation, dropout for each hidden layer, and a linear layer for the logits.

    Images are flattened. Without hidden layers it is softmax regression.
    """

    kind: Literal["mlp"] = "mlp"
    default_norm: ClassVar[str] = "none"
    takes_norm: ClassVar[bool] = True
    takes_dropout: ClassVar[bool] = True
    widths: tuple[Count, ...] = Field((100,), description="units of each hidden layer, in order")
    activation: Activation = Field(Relu(), description="nonlinearity after each hidden layer")

    def check_inputs(self, inputs: InputShape) -> None:
        """Any shape will do."""

    def build(
        self, inputs: InputShape, outputs: OutputSpec, *, norm: Norm, dropout: float | None
    ) -> nn.Module:
        """`[N, *inputs]` -> logits `[N, num_classes]`."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if len(inputs) > 1:
            layers["flatten"] = nn.Flatten()
        features = math.prod(inputs)
        for i, width in enumerate(self.widths, start=1):
            layers[f"fc{i}"] = nn.Linear(features, width, bias=not norm.normalizes)
            if norm.normalizes:
                layers[f"norm{i}"] = norm.build(width, dims=0)
            layers[f"act{i}"] = self.activation.build()
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
            features = width
        layers[f"fc{len(self.widths) + 1}"] = nn.Linear(features, outputs.num_classes)
        return nn.Sequential(layers)
