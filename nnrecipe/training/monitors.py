"""What is measured while a model trains: gradients, updates, and what the layers put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nnrecipe.core.parameters import weights_of
from nnrecipe.training.activity import Activity, listening

SECOND_MOMENTS = ("exp_avg_sq", "square_avg", "sum")
"""Where Adam and its kin, RMSprop and Adagrad keep the running squares of a gradient."""


@dataclass(frozen=True)
class Reading:
    """The figures of a sampled step; those that are mappings by the path of a layer or a weight.

    `lr` is the rate of the first parameter group. `total_gradient` is the norm of the gradient by
    all parameters before clipping, and `clip_factor` what clipping left of it (1: all). Of each
    weight: `update_ratio` is |new - old| / |old|, the lecture's ~1e-3, NaN where the old one is
    zero; `weight_norm` is |old|; `gradient_norm` is taken before clipping; `damping` is the share
    of an adaptive optimizer's denominator that is its `eps`. Of each layer: the figures of
    `Activity`. Of each of several tasks, by its name: `task_loss` before it is weighed,
    `task_weight`, and `task_gradient`, the norm of the weighted loss's gradient by the parameters
    that it shares with others.
    """

    batch_loss: float
    lr: float
    total_gradient: float = 0.0
    clip_factor: float = 1.0
    update_ratio: dict[str, float] = field(default_factory=dict)
    weight_norm: dict[str, float] = field(default_factory=dict)
    gradient_norm: dict[str, float] = field(default_factory=dict)
    damping: dict[str, float] = field(default_factory=dict)
    activation_norm: dict[str, float] = field(default_factory=dict)
    dead_units: dict[str, float] = field(default_factory=dict)
    saturated_units: dict[str, float] = field(default_factory=dict)
    task_loss: dict[str, float] = field(default_factory=dict)
    task_weight: dict[str, float] = field(default_factory=dict)
    task_gradient: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float | dict[str, float]]:
        """What the logbook keeps of it, by name: all that was measured."""
        return {name: value for name, value in asdict(self).items() if value != {}}


@dataclass(frozen=True)
class Sample:
    """The figures of one step as they lie on the device, until somebody reads them."""

    lr: float
    scalars: dict[str, Tensor]
    mappings: dict[str, dict[str, Tensor]]

    def read(self) -> Reading:
        """Bring all of them over at once: one synchronisation."""
        tensors = [*self.scalars.values()]
        tensors += [value for mapping in self.mappings.values() for value in mapping.values()]
        values = iter(torch.stack([tensor.float() for tensor in tensors]).tolist())
        scalars: dict[str, Any] = {name: next(values) for name in self.scalars}
        mappings: dict[str, Any] = {
            name: {path: next(values) for path in mapping}
            for name, mapping in self.mappings.items()
        }
        return Reading(lr=self.lr, **scalars, **mappings)


class Watch:
    """Measures a step from within. It costs a copy of the weights, so use it rarely."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        weights = {path: w for path, w in weights_of(model).items() if w.requires_grad}
        self._model, self._optimizer = model, optimizer
        self._paths = tuple(weights)
        self._weights: list[Tensor] = list(weights.values())
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._places = {id(parameter): place for place, parameter in enumerate(self._parameters)}
        self._old: list[Tensor] = []
        self._activity = Activity()
        self._norms: list[Tensor] = []
        self._left: list[Tensor] = []
        self._tasks: dict[str, dict[str, Tensor]] = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """A block that takes one step: remember the weights before, listen to the forward pass."""
        self._old = [weight.detach().clone() for weight in self._weights]
        self._norms, self._left, self._tasks = [], [], {}
        with listening(self._model) as self._activity:
            yield

    @contextmanager
    def clipping(self, *, clips: bool) -> Iterator[None]:
        """A block that may clip the gradients; that of the step's first evaluation counts."""
        first = not self._norms
        if first:
            self._norms = _gradient_norms(self._parameters)
        yield
        if first and clips:
            self._left = _gradient_norms(self._parameters)

    def take_tasks(self, figures: dict[str, dict[str, Tensor]]) -> None:
        """Take what is measured of several tasks; that of the step's first evaluation counts."""
        self._tasks = self._tasks or figures

    @torch.no_grad()
    def sample(self, loss: Tensor) -> Sample:
        """What the step measured, now that it is taken."""
        total = torch.linalg.vector_norm(torch.stack(self._norms))
        scalars = {"batch_loss": loss, "total_gradient": total}
        if self._left:
            left = torch.linalg.vector_norm(torch.stack(self._left))
            scalars["clip_factor"] = left / total
        mappings = {
            "gradient_norm": self._by_path([self._norms[self._place(w)] for w in self._weights]),
            "damping": self._damping(),
            "activation_norm": self._activity.rms,
            "dead_units": self._activity.silent,
            "saturated_units": self._activity.saturated,
            **self._tasks,
        }
        if self._weights:
            before = torch._foreach_norm(self._old)
            changes = torch._foreach_norm(torch._foreach_sub(self._weights, self._old))
            mappings["weight_norm"] = self._by_path(before)
            mappings["update_ratio"] = self._by_path(torch._foreach_div(changes, before))
        self._old = []
        return Sample(float(self._optimizer.param_groups[0]["lr"]), scalars, mappings)

    def _place(self, weight: Tensor) -> int:
        return self._places[id(weight)]

    def _by_path(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self._paths, values, strict=True))

    def _damping(self) -> dict[str, Tensor]:
        """The share eps / (sqrt(v) + eps), v the mean of a gradient's running squares."""
        paths = {id(weight): path for path, weight in zip(self._paths, self._weights, strict=True)}
        found: dict[str, Tensor] = {}
        for group in self._optimizer.param_groups:
            eps = group.get("eps")
            for parameter in group["params"]:
                squares = _second_moment(self._optimizer.state.get(parameter, {}))
                if eps and squares is not None and id(parameter) in paths:
                    size = squares.mean().sqrt()
                    found[paths[id(parameter)]] = eps / (size + eps)
        return found


def _second_moment(state: dict[str, Any]) -> Tensor | None:
    if "acc_delta" in state:  # Adadelta's eps stands in the numerator too
        return None
    return next((state[name] for name in SECOND_MOMENTS if name in state), None)


@torch.no_grad()
def _gradient_norms(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The norm of each parameter's gradient; 0 where there is none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = iter(torch._foreach_norm(gradients) if gradients else ())
    return [next(norms) if p.grad is not None else p.new_zeros(()) for p in parameters]
