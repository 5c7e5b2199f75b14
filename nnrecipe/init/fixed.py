"""Weights whose size does not depend on the layer, and torch's own."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.spec import NonNegativeFloat, Number
from nnrecipe.init.base import InitSpec, Layer, WeightInit
from nnrecipe.layers import Activation


class ZerosInit(WeightInit):
    """Every weight is zero: a hidden layer's units stay alike, and nothing is learned."""

    source: ClassVar[str] = "lecture: weight initialization, all zeros"

    kind: Literal["zeros"] = "zeros"

    def fill(self, weight: Tensor, gain: float) -> None:  # noqa: ARG002
        """Zero."""
        nn.init.zeros_(weight)


class ConstantInit(WeightInit):
    """Every weight has one value: a hidden layer's units stay alike."""

    source: ClassVar[str] = "torch.nn.init.constant_"

    kind: Literal["constant"] = "constant"
    value: Number = Field(0.1, description="every weight")

    def fill(self, weight: Tensor, gain: float) -> None:  # noqa: ARG002
        """The value."""
        nn.init.constant_(weight, self.value)


class NormalInit(WeightInit):
    """N(mean, std^2) in every layer: 0.01 is the lecture's small, 1.0 its large random numbers.

    Activations vanish or explode with depth unless std happens to fit the layers' sizes.
    """

    source: ClassVar[str] = "lecture: weight initialization, small and large random numbers"

    kind: Literal["normal"] = "normal"
    mean: Number = Field(0.0, description="mean of the weights")
    std: NonNegativeFloat = Field(
        0.01, description="standard deviation of the weights: 0.01 is small, 1.0 large"
    )

    def fill(self, weight: Tensor, gain: float) -> None:  # noqa: ARG002
        """Independent normal numbers."""
        nn.init.normal_(weight, self.mean, self.std)


@runtime_checkable
class Resettable(Protocol):
    """A module that can draw its own parameters anew."""

    def reset_parameters(self) -> None:
        """Do so, in place."""


class TorchDefaultInit(InitSpec):
    """What each of torch's modules does when it is made, weights and biases."""

    source: ClassVar[str] = "torch.nn.Module.reset_parameters"

    kind: Literal["pytorch_default"] = "pytorch_default"

    def reset(
        self,
        model: nn.Module,
        layers: list[Layer],  # noqa: ARG002
        activation: Activation | None,  # noqa: ARG002
    ) -> None:
        """Call `reset_parameters` of every module that has it."""
        for module in model.modules():
            if isinstance(module, Resettable):
                module.reset_parameters()
