"""From a user's own objects to the bench that stages and checks work with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from nnrecipe.checks import Bench
from nnrecipe.checkup.data import plain_data
from nnrecipe.checkup.form import Form, form_of
from nnrecipe.checkup.loading import Reading, first_batch, read
from nnrecipe.checkup.loss import (
    PlainLoss,
    chance_of,
    copied_loss,
    ignored_label,
    without_smoothing,
)
from nnrecipe.checkup.model import (
    copied,
    device_of,
    draw_anew,
    first_outputs,
    materialized,
    plain_model,
    without_hooks,
)
from nnrecipe.checkup.optimizer import PlainOptimizer, plain_optimizer
from nnrecipe.checkup.wiring import WiringStage
from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.source_lines import OwnCode
from nnrecipe.init import Init
from nnrecipe.layers import Activation
from nnrecipe.losses import LossCallable
from nnrecipe.regularization import Regularization

TRAIN_EXAMPLES, VAL_EXAMPLES = 4000, 2000
BELOW_CHANCE = 0.6
"""A loss on unseen examples that is less than this share of a guess's isn't a start's."""
FEW = 8
"""Examples on which model and loss are tried first."""
INIT_EXAMPLES = 64
"""Training examples that an init which looks at data gets to see."""


@dataclass(frozen=True)
class Workplace:
    """The bench, the stage that looks at how its parts go together, and the user's own code.

    `starts_low` says that a schedule has the first steps taken at a low rate, `trained` that the
    model isn't at its start any more.
    """

    bench: Bench
    wiring: WiringStage
    own: OwnCode
    starts_low: bool
    trained: bool


def make_workplace(
    model: nn.Module,
    train_loader: Iterable[Any],
    loss_fn: LossCallable,
    val_loader: Iterable[Any] | None,
    optimizer: torch.optim.Optimizer | None,
) -> Workplace:
    """Copy the model, read the loaders, and find out what their tensors mean.

    Raises `UserError` for what doesn't go together.
    """
    original = plain_model(model)
    device = device_of(original)
    inputs, _ = first_batch(train_loader, "train_loader")
    few = inputs[:FEW].float().to(device)
    template = without_hooks(materialized(copied(original), few), few)
    outputs = first_outputs(template, few)
    train = read(train_loader, "train_loader", limit=TRAIN_EXAMPLES)
    val = None if val_loader is None else read(val_loader, "val_loader", limit=VAL_EXAMPLES)
    if outputs.ndim == 2 and outputs.shape[1] > 1:  # of classes, not of values
        train = _heeded(train, loss_fn, "train_loader")
        val = None if val is None else _heeded(val, loss_fn, "val_loader")
    form = form_of(outputs, train.targets, copied_loss(loss_fn))
    if form.converts:
        template.register_forward_hook(lambda _module, _inputs, given: form.outputs(given))
    plain = plain_optimizer(optimizer, original)
    bench = _bench(template, train, val, loss_fn, form, plain)
    trained = _is_trained(bench)
    if trained:  # the rate of a first step can't be judged where many have been made
        bench = replace(bench, learning_rate=None)
    facts = {
        "trained_already": trained,
        "learning_rate": plain.learning_rate,
        "batch_size": train.batch_size,
        "shuffled": train.shuffled,
        "examples_read": "a part" if train.partial else "all",
        "validation": "held out of train_loader" if val is None else "val_loader",
        "task": form.task,
    }
    wiring = WiringStage(
        model=type(original).__name__,
        loss=copied_loss(loss_fn),
        optimizer=plain,
        outputs=outputs,
        targets=train.targets[: len(outputs)],
        trainable=frozenset(p for p, value in original.named_parameters() if value.requires_grad),
        facts=facts,
    )
    own = OwnCode(model=list(original.modules()), loss=[loss_fn], data=[train.dataset])
    return Workplace(bench, wiring, own, starts_low=plain.starts_low, trained=trained)


def _heeded(reading: Reading, loss_fn: LossCallable, name: str) -> Reading:
    """The examples that the loss doesn't leave out, where targets are class numbers.

    Raises `UserError` if there are none.
    """
    targets = reading.targets
    if targets.is_floating_point() or targets.numel() != len(targets):
        return reading
    ignored = ignored_label(loss_fn)
    kept = targets.reshape(len(targets)) != ignored
    if not bool(kept.any()):
        raise UserError(f"{name}: all labels are {ignored}, the loss's ignore_index")
    return reading if bool(kept.all()) else reading.part(kept)


def _bench(
    template: nn.Module,
    train: Reading,
    val: Reading | None,
    loss_fn: LossCallable,
    form: Form,
    optimizer: PlainOptimizer,
) -> Bench:
    device = device_of(template)
    data = plain_data(train, val, form, device=device)
    sample = data.examples(data.train, torch.arange(min(INIT_EXAMPLES, len(data.train))))

    def make_model() -> nn.Module:
        return copy.deepcopy(template)

    def make_variant(
        *,
        init: Init | None = None,
        activation: Activation | None = None,  # noqa: ARG001
        seed: int | None = None,
    ) -> nn.Module:
        """With other initial weights; its nonlinearities are its own affair."""
        made = make_model()
        with isolated_rng(seed or 0, "model"):
            if seed is not None:
                draw_anew(made)
            if init is not None:
                init.apply(made, activation=None, inputs=sample.inputs, outputs=data.outputs)
        return made

    loss = PlainLoss(copied_loss(loss_fn), form)
    single = form.task == "single_label"
    fits = form.width == data.outputs.size
    if fits:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shapes that broadcast: the wiring stage tells
            loss(make_model().eval()(sample.inputs), sample.targets)  # refuses what doesn't fit
    still = {path for path, p in template.named_parameters() if not p.requires_grad}
    given = optimizer.optimizer is not None
    return Bench(
        data=data,
        make_model=make_model,
        make_variant=make_variant,
        make_optimizer=optimizer.build,
        make_loss=lambda: PlainLoss(copied_loss(loss_fn), form),
        make_bare_loss=lambda: PlainLoss(without_smoothing(loss_fn), form),
        chance=chance_of(loss, size=form.width, device=device) if single and fits else None,
        penalty=Regularization().penalty(),
        device=device,
        seed=0,
        batch_size=min(train.batch_size, len(data.train)),
        learning_rate=optimizer.learning_rate if optimizer.held else None,
        shuffle=train.shuffled,
        reevaluates=optimizer.reevaluates,
        # Switched off and left out of the optimizer: that is no accident.
        frozen=frozenset(still - optimizer.held) if given else frozenset(),
    )


@torch.no_grad()
def _is_trained(bench: Bench) -> bool:
    """Whether the model knows already what its validation examples are.

    Only of a loss whose chance level is known can it be told.
    """
    if bench.chance is None:
        return False
    batch = bench.sample(bench.data.val, 256)
    loss = bench.loss_of(bench.make_model().eval(), batch).item()
    return 0 < loss < BELOW_CHANCE * bench.chance
