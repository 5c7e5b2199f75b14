"""The workbench: what a check needs in order to make the user's model, feed it and train it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nnrecipe.architectures.weights import Pretrained
from nnrecipe.core.device import Precision
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.shapes import Head, OutputSpec
from nnrecipe.data import DataBundle, Split
from nnrecipe.data.batch import Batch
from nnrecipe.losses import LossCallable, TaskLosses
from nnrecipe.regularization import Penalty, Regularization
from nnrecipe.regularization.mixing import Mixing
from nnrecipe.schedulers import Multiplier
from nnrecipe.training.setup import CONSTANT, Accumulate, Limits, TrainSetup
from nnrecipe.training.transfer import Strategy

Found = TypeVar("Found")

SAMPLE_ELEMENTS = 2**26
"""A quarter of a gigabyte of float32: what a check may look at in one piece."""

MakeVariant = Callable[..., nn.Module]
"""`(*, init, activation, seed)`: the model with other initial weights, another nonlinearity or its
weights drawn from another seed; the recipe's own where that is None or left out."""

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""`(model, *, lr, decay)`: an optimizer over the trainable parameters; `decay=False` leaves weight
decay out."""


Thaw = Callable[[nn.Module, int], None]
"""`(model, epoch)`: lets those parameters train that do in this epoch, and no others."""


@dataclass(frozen=True)
class Bench:
    """Data, a way to make the model afresh, and the rest of the recipe that training needs.

    `make_model()` gives the same initial weights at every call, on `device`, and `make_loss()` a
    loss without a past; `make_bare_loss()` leaves label smoothing out. `chance` is the loss of a
    uniform guess, None where it isn't known. `learning_rate` is None until the probe has chosen it.
    `frozen` holds the paths of the parameters that the recipe declares frozen. `shuffle` says
    whether training draws a new order each epoch. `pretrained` is what `make_model` starts from
    where it doesn't draw its weights, `thaw` says which of them train in an epoch, and
    `with_strategy` gives the same bench under another strategy of transfer.
    """

    data: DataBundle
    make_model: Callable[[], nn.Module]
    make_variant: MakeVariant
    make_optimizer: MakeOptimizer
    make_loss: Callable[[], LossCallable]
    make_bare_loss: Callable[[], LossCallable]
    chance: float | None
    penalty: Penalty
    device: torch.device
    seed: int
    batch_size: int
    learning_rate: float | None
    shuffle: bool = True
    precision: Precision = "fp32"
    limits: Limits = field(default_factory=Limits)
    mixing: Mixing = field(default_factory=Mixing)
    reevaluates: bool = False
    frozen: frozenset[str] = field(default_factory=frozenset)
    pretrained: Pretrained | None = None
    thaw: Thaw | None = None
    with_strategy: Callable[[Strategy], Bench] | None = None
    _found: dict[Callable[[Bench], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, find: Callable[[Bench], Found]) -> Found:
        """What `find` gives for this bench: computed at the first call, the same at every other."""
        if find not in self._found:
            self._found[find] = find(self)
        found: Found = self._found[find]
        return found

    @property
    def outputs(self) -> OutputSpec:
        """What the model has to put out."""
        return self.data.outputs

    @property
    def tasks(self) -> dict[str, Bench]:
        """A bench for each of several tasks, by its name: its targets, outputs and loss alone.

        Of one task there is none.
        """
        return self.once(_of_heads)

    def sample(self, split: Split, size: int) -> Batch:
        """Up to `size` examples of a split, drawn without replacement, always the same ones.

        Of large examples they are fewer, so that the sample fits in `SAMPLE_ELEMENTS` numbers.
        """
        affordable = max(32, SAMPLE_ELEMENTS // math.prod(self.data.input_shape))
        order = torch.randperm(len(split), generator=generator(self.seed, "sample"))
        return self.data.examples(split, order[: min(size, affordable)])

    def setup(
        self,
        model: nn.Module,
        *,
        lr: float,
        regularized: bool = True,
        schedule: Multiplier = CONSTANT,
        accumulate: Accumulate = 1,
        monitor_every: int | None = None,
    ) -> TrainSetup:
        """What it takes to train `model` at `lr`; on request without what regularizes."""
        limits = self.limits if regularized else replace(self.limits, weight_norm=None)
        loss = self.make_loss() if regularized else self.make_bare_loss()
        optimizer = self.make_optimizer(model, lr=lr, decay=regularized)
        if isinstance(loss, TaskLosses):
            loss.train_with(optimizer, lr=lr)
        return TrainSetup(
            model=model,
            loss=loss,
            optimizer=optimizer,
            penalty=self.penalty if regularized else Regularization().penalty(),
            device=self.device,
            task=self.outputs.task,
            precision=self.precision,
            schedule=schedule,
            limits=limits,
            mixing=self.mixing if regularized else Mixing(),
            accumulate=accumulate,
            reevaluates=self.reevaluates,
            monitor_every=monitor_every,
        )

    def loss_of(self, model: nn.Module, batch: Batch) -> Tensor:
        """The data loss of a model, scalar, with the randomness of dropout always the same."""
        with isolated_rng(self.seed, "loss"):
            return self.make_loss()(model(batch.inputs), batch.targets)

    @torch.no_grad()
    def start_loss(self) -> float:
        """The data loss of the initial model on a few hundred training examples, in train mode."""
        return self.loss_of(self.make_model().train(), self.sample(self.data.train, 256)).item()


def _of_heads(bench: Bench) -> dict[str, Bench]:
    """The benches of several tasks; each keeps what is found for it."""
    return {
        head.name: _of_head(bench, head, place) for place, head in enumerate(bench.outputs.heads)
    }


def _of_head(bench: Bench, head: Head, place: int) -> Bench:
    def own_loss(make: Callable[[], LossCallable]) -> LossCallable:
        loss = make()
        assert isinstance(loss, TaskLosses), "several tasks have a loss each"
        return loss.losses[place]

    whole = bench.make_loss()
    assert isinstance(whole, TaskLosses), "several tasks have a loss each"
    return replace(
        bench,
        data=bench.data.of(head),
        make_model=lambda: _narrowed(bench.make_model(), head),
        make_variant=lambda **changes: _narrowed(bench.make_variant(**changes), head),
        make_loss=lambda: own_loss(bench.make_loss),
        make_bare_loss=lambda: own_loss(bench.make_bare_loss),
        chance=whole.chances[place],
    )


def _narrowed(model: nn.Module, head: Head) -> nn.Module:
    """The same model, which gives a task's own outputs; in place, so that its layers stay its."""
    model.register_forward_hook(lambda _module, _inputs, outputs: head.of_outputs(outputs))
    return model
