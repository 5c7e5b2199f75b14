"""Layer-sequential unit-variance weights: their size comes from the data, not from a formula."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import NORMS
from nnrecipe.core.spec import Count, PositiveFloat
from nnrecipe.init.base import Layer
from nnrecipe.init.scaled import ScaledInit


class Lsuv(ScaledInit):
    """Orthogonal weights, each layer's then divided until its outputs have variance 1.

    One batch of inputs goes through the network once. Each layer, in the order of execution, is
    scaled on what the scaled layers before it give, so no gain is needed. Dropout is off; norms do
    what they do in training. Layers that this pass doesn't call keep orthogonal weights of gain 1.
    The output layer is scaled as well, and `output_gain` is the standard deviation of its outputs.
    """

    source: ClassVar[str] = "Mishkin and Matas 2016, algorithm 1"

    kind: Literal["lsuv"] = "lsuv"
    tolerance: PositiveFloat = Field(
        0.1, description="distance of the outputs' variance from 1 that is close enough"
    )
    most_steps: Count = Field(10, description="divisions of one layer's weights at most")

    def fill(self, weight: Tensor, gain: float) -> None:  # noqa: ARG002 - measured instead
        """A random orthogonal matrix; for a convolution, over [out, in * height * width]."""
        nn.init.orthogonal_(weight)

    def fit(self, model: nn.Module, inputs: Tensor | None) -> None:
        """Scale the weights in place. Raises `UserError` without inputs, or if nothing varies."""
        if inputs is None:
            reason = "its weights follow a batch of inputs, and there is none here"
            raise UserError(f"init.kind: {self.kind}: {reason}: use orthogonal")
        scaling = _Scaling(model, tolerance=self.tolerance, most_steps=self.most_steps)
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        handles = [layer.register_forward_hook(scaling, with_kwargs=True) for layer in layers]
        try:
            with _quiet(model), torch.random.fork_rng(_generators(inputs)):
                model(inputs)
        finally:
            for handle in handles:
                handle.remove()


class _Scaling:
    """A forward hook that scales the layer and gives its new outputs to the layers behind it."""

    def __init__(self, model: nn.Module, *, tolerance: float, most_steps: int) -> None:
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.tolerance = tolerance
        self.most_steps = most_steps
        self.scaled: set[int] = set()

    def __call__(
        self, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor:
        """The outputs [N, ...] of the scaled layer; a weight that is used again is left alone."""
        if id(layer.weight) in self.scaled:
            return output
        self.scaled.add(id(layer.weight))
        for _ in range(self.most_steps):
            variance = output.var(correction=0).item()
            if not 0 < variance < math.inf:
                found = f"the outputs of {self.paths[id(layer)]} have variance {variance:g}"
                raise UserError(f"init.kind: lsuv: {found}: look at the inputs, or use orthogonal")
            if abs(variance - 1) < self.tolerance:
                break
            layer.weight.div_(math.sqrt(variance))
            output = layer.forward(*args, **kwargs)
        return output


@contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """All modules but norms in eval mode; afterwards modes and buffers are as they were."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for module, training in modes:
        module.training = training and isinstance(module, NORMS)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for buffer, before in buffers:
            buffer.copy_(before)


def _generators(inputs: Tensor) -> list[torch.device]:
    """The devices, beside the CPU, whose global generator a forward pass might draw from."""
    return [inputs.device] if inputs.device.type == "cuda" else []
