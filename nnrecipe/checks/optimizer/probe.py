"""An optimizer taken apart: where steps lead from the initial weights, by known gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.parameters import ParamGroup, weights_of
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.data.batch import Batch

FALLBACK_RATE = 1e-3
"""The learning rate of a probe whose recipe leaves it to the ladder."""
LEAST_EXAMPLES = 64

Gradients = Mapping[str, Tensor]
"""A gradient for each trainable parameter, by its path."""
Adjust = Callable[[torch.optim.Optimizer], None]


@dataclass(frozen=True)
class OptimizerProbe:
    """Takes steps on copies of the model, in double precision: nothing else is computed by them."""

    bench: Bench

    @property
    def rate(self) -> float:
        """The recipe's learning rate, or one that stands for it."""
        return self.bench.learning_rate or FALLBACK_RATE

    def moves(
        self,
        gradients: Gradients,
        *,
        steps: int = 1,
        decay: bool = True,
        adjust: Adjust | None = None,
    ) -> dict[str, Tensor]:
        """How far each trainable parameter has moved after some steps by the same gradients.

        `adjust` may change the optimizer's settings beforehand.
        """
        model = self.bench.make_model().double()
        optimizer = self.bench.make_optimizer(model, lr=self.rate, decay=decay)
        if adjust is not None:
            adjust(optimizer)
        trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
        before = {path: parameter.detach().clone() for path, parameter in trained.items()}
        with isolated_rng(self.bench.seed, "optimizer_probe"):
            for _ in range(steps):
                for path, parameter in trained.items():
                    # a copy: an optimizer may write to the gradients that it is given
                    parameter.grad = gradients[path].to(parameter).clone()
                optimizer.step()
        return {path: parameter.detach() - before[path] for path, parameter in trained.items()}

    def settings(self) -> list[ParamGroup]:
        """The optimizer's groups, with all that is set in them."""
        model = self.bench.make_model()
        return self.bench.make_optimizer(model, lr=self.rate).param_groups

    def weights(self) -> dict[str, Tensor]:
        """The initial values of the trainable parameters that decay is for, in double precision."""
        model = self.bench.make_model()
        named = weights_of(model).items()
        return {path: weight.detach().double() for path, weight in named if weight.requires_grad}

    def nothing(self) -> Gradients:
        """Gradients of zero, which leave regularization alone to act."""
        return {path: torch.zeros_like(value) for path, value in self._trainable().items()}

    def noise(self) -> Gradients:
        """Random gradients, none of them zero."""
        draw = generator(self.bench.seed, "optimizer_probe")
        return {
            path: (0.01 * torch.randn(value.shape, generator=draw)).to(value.device)
            for path, value in self._trainable().items()
        }

    def _trainable(self) -> dict[str, Tensor]:
        named = self.bench.make_model().named_parameters()
        return {path: p.detach() for path, p in named if p.requires_grad}


def data_gradients(bench: Bench) -> Gradients:
    """The gradient of the initial data loss, in training mode, on a batch of training examples.

    Zero where the loss doesn't reach, and where it isn't finite.
    """
    model = bench.make_model().train()
    size = max(bench.batch_size, LEAST_EXAMPLES)
    inputs, targets = bench.sample(bench.data.train, min(size, 512))
    trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
    with torch.backends.cudnn.flags(enabled=False):
        loss = bench.loss_of(model, Batch(inputs.clone(), targets))
        if not loss.requires_grad:
            return {path: torch.zeros_like(p) for path, p in trained.items()}
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {
        path: torch.zeros_like(p)
        if gradient is None
        else torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        for (path, p), gradient in zip(trained.items(), found, strict=True)
    }


def norm(tensors: Mapping[str, Tensor], paths: Mapping[str, object] | None = None) -> float:
    """The Euclidean norm of all entries, or of those under the given paths."""
    chosen = [tensor for path, tensor in tensors.items() if paths is None or path in paths]
    return float(torch.stack([t.double().square().sum() for t in chosen]).sum().sqrt())


def inner(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The scalar product, over the paths of the second."""
    return sum(
        float((first[path].double() * value.double()).sum()) for path, value in second.items()
    )
