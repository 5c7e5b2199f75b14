"""What the loss of the untrained network would be with other weights, or with other inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.probe import LossProbe
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.data.batch import Batch
from nnrecipe.init.base import Layer
from nnrecipe.training.steps import train_steps

EXAMPLES = 256
UNSCALED = 3.0
"""Root mean square of the inputs from which they are worth trying at size 1."""
TOLERATED = 1.5
"""By how much a weight may be larger than Kaiming's before it is held against the model."""


@dataclass(frozen=True)
class Start:
    """The loss before training, beside that of knowing nothing, and of what might be to blame.

    `excess` and what else is measured is how far a loss lies above chance, over chance.
    """

    bench: Bench

    @cached_property
    def loss(self) -> float:
        """The initial loss on a few hundred examples."""
        return self.bench.start_loss()

    @cached_property
    def chance(self) -> float:
        """The loss of outputs that know nothing: all alike, or the mean of a regression's targets.

        It is measured on the same batch, so whatever scales the loss scales both. NaN where a
        regression has more outputs than values: what they stand for, the loss alone knows.
        """
        targets, mean = self._batch.targets, self.bench.outputs.target_mean
        probe = LossProbe.of(self.bench)
        if mean and probe.width != len(mean):
            return math.nan
        nothing = torch.zeros(len(targets), probe.width, device=targets.device)
        return probe.value(nothing + torch.tensor(mean or 0.0, device=targets.device), targets)

    @property
    def excess(self) -> float:
        """Of the loss as it is; infinite where that isn't finite."""
        return self._above_chance(self.loss)

    def loss_at(self, excess: float) -> float:
        """The loss that lies so far above chance."""
        return self.chance + excess * abs(self.chance)

    @property
    def finite_inputs(self) -> bool:
        """Whether the examples hold numbers alone."""
        return bool(torch.isfinite(self._batch.inputs).all())

    def with_tame_weights(self) -> tuple[float, str]:
        """With weights, biases and scales no larger than usual, and the path of the largest.

        The path is empty where none is too large.
        """
        model = self.bench.make_model()
        largest = tame(model)
        return self._measured(model, self._batch.inputs), largest

    def with_unit_inputs(self) -> float | None:
        """With inputs of size 1; None if they aren't much larger."""
        if not self._size > UNSCALED:
            return None
        return self._measured(self.bench.make_model(), self._batch.inputs / self._size)

    def with_both(self) -> float:
        """With tame weights and inputs of size 1."""
        model = self.bench.make_model()
        tame(model)
        return self._measured(model, self._batch.inputs / max(self._size, 1.0))

    def after(self, steps: int) -> float | None:
        """After so many steps of the recipe's optimizer; None if its rate isn't known yet."""
        bench = self.bench
        if bench.learning_rate is None:
            return None
        setup = bench.setup(bench.make_model(), lr=bench.learning_rate)
        with isolated_rng(bench.seed, "start"):
            for _ in train_steps(setup, islice(self._batches(), steps)):
                pass
        return self._measured(setup.model, self._batch.inputs)

    def _batches(self) -> Iterator[Batch]:
        """Training batches, epoch after epoch."""
        for epoch in count():
            draw = generator(self.bench.seed, "start", epoch)
            yield from self.bench.data.training_batches(self.bench.batch_size, generator=draw)

    @cached_property
    def _batch(self) -> Batch:
        return self.bench.sample(self.bench.data.train, EXAMPLES)

    @property
    def _size(self) -> float:
        return float(self._batch.inputs.float().square().mean().sqrt())

    @torch.no_grad()
    def _measured(self, model: nn.Module, inputs: Tensor) -> float:
        batch = self._batch._replace(inputs=inputs)
        return self._above_chance(float(self.bench.loss_of(model.train(), batch)))

    def _above_chance(self, loss: float) -> float:
        if not math.isfinite(loss):
            return math.inf
        return (loss - self.chance) / max(abs(self.chance), 1e-12)


@torch.no_grad()
def tame(model: nn.Module) -> str:
    """Shrink every weight to Kaiming's size and every bias and scale to 1, where they are larger.

    In place. Returns the path of the parameter that had to shrink most; empty if none had to shrink
    by more than `TOLERATED`.
    """
    weights, most, path = weights_of(model), TOLERATED, ""
    layers = {id(m.weight) for m in model.modules() if isinstance(m, Layer)}
    for name, parameter in model.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
        if id(parameter) not in layers:  # a bare matrix may be laid out either way
            fan_in = max(fan_in, len(parameter) if parameter.ndim == 2 else 0)
        usual = math.sqrt(2 / fan_in) if name in weights else 1.0
        excess = float(parameter.square().mean().sqrt()) / usual
        if excess > 1:
            parameter.div_(excess)
        if excess > most:
            most, path = excess, name
    return path
