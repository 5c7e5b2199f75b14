"""A plain training of a recipe, and what other tools' rules look at while it runs.

Only the parts of the recipe are nnrecipe's (data, model, loss, optimizer); none of its checks is
used, and none of its measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nnrecipe.checks import Bench
from nnrecipe.core.device import autocast
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.data.batch import Batch
from nnrecipe.recipe import Recipe, load
from nnrecipe.recipe.bench import make_bench
from nnrecipe.regularization import penalized
from zoo.figures import Loss, Numbers, Snapshot, snapshot

PROBED = 128
"""Training examples in the batch on which the network is looked at."""
FIRST_STEPS = 10
"""Steps after each of which the network is looked at; later on it is once an epoch."""


@dataclass
class Telemetry:
    """What a training has shown. `first` are snapshots of the first steps, `epochs` of the ends.

    `images` are all training inputs; `ends_in_probabilities` says that the outputs sum to 1, and
    `takes_logits` that the loss stays the same when all logits rise by 1, as softmax does.
    """

    images: Numbers
    images_range: tuple[float, float]
    counts: list[int]
    layers: list[nn.Module]
    learning_rate: float
    takes_logits: bool
    ends_in_probabilities: bool
    planned_epochs: int
    first: list[Snapshot] = field(default_factory=list)
    epochs: list[Snapshot] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    @property
    def final_accuracy(self) -> float:
        """The accuracy on the validation split after the last epoch."""
        return self.val_accuracy[-1]


def train(config: Path) -> Telemetry:
    """Train the recipe in `config` from beginning to end, or until its loss is not finite."""
    recipe = load(config).recipe
    device = torch.device("cpu")
    data = recipe.data.build(device=device, seed=recipe.seed)
    bench = make_bench(recipe, data, device=device)
    with isolated_rng(recipe.seed, "telemetry"):
        return _train(recipe, bench)


def _train(recipe: Recipe, bench: Bench) -> Telemetry:
    model, loss = bench.make_model(), bench.make_loss()
    assert bench.learning_rate is not None, "the zoo's recipes give their learning rate"
    optimizer = bench.make_optimizer(model, lr=bench.learning_rate)
    factors = _factors(recipe, bench)
    probe = next(bench.data.batches(bench.data.train, PROBED))
    seen = _start(recipe, bench, model, loss, probe)

    for epoch in range(recipe.training.epochs):
        batches = bench.data.training_batches(
            recipe.training.batch_size,
            generator=generator(recipe.seed, "telemetry", epoch),
            shuffle=recipe.training.shuffle,
        )
        losses, right, count = 0.0, 0, 0
        for batch in batches:
            factor = next(factors)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            looked_at = len(seen.first) < FIRST_STEPS
            before = _weights(model) if looked_at else {}
            value, correct = _step(bench, model, loss, optimizer, batch)
            if looked_at:
                seen.first.append(snapshot(model, loss, probe, before))
            losses += value * len(batch.targets)
            right, count = right + correct, count + len(batch.targets)
        seen.train_loss.append(losses / count)
        seen.train_accuracy.append(right / count)
        seen.epochs.append(snapshot(model, loss, probe, {}))
        _validate(seen, bench, model, loss)
        if not math.isfinite(losses):
            break
    return seen


def _factors(recipe: Recipe, bench: Bench) -> Iterator[float]:
    """The schedule's factor on the learning rate, step by step."""
    steps = bench.data.steps_per_epoch(recipe.training.batch_size)
    schedule = recipe.scheduler.build(steps * recipe.training.epochs, steps_per_epoch=steps)
    for step in range(steps * recipe.training.epochs):
        yield schedule(step)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {path: parameter.detach().clone() for path, parameter in model.named_parameters()}


def _step(
    bench: Bench, model: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, batch: Batch
) -> tuple[float, int]:
    """One step; the loss, and how many of the examples were right."""
    model.train()
    optimizer.zero_grad()
    mixed = bench.mixing(*batch) if bench.mixing else None
    with autocast(bench.device, bench.precision):
        outputs = model(batch.inputs if mixed is None else mixed.inputs)
        value = loss(outputs, batch.targets) if mixed is None else mixed.loss(loss, outputs)
    if bench.penalty.active:
        value = value + bench.penalty.of(penalized(model))
    value.backward()
    if bench.limits.gradient_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), bench.limits.gradient_norm)
    optimizer.step()
    return value.item(), int((outputs.argmax(1) == batch.targets).sum())


def _start(recipe: Recipe, bench: Bench, model: nn.Module, loss: Loss, probe: Batch) -> Telemetry:
    """What is known before the first step."""
    data = bench.data
    inputs = torch.cat([batch.inputs for batch in data.batches(data.train, 512)])
    with torch.no_grad():
        outputs = model.eval()(probe.inputs).float()
        plain, raised = loss(outputs, probe.targets), loss(outputs + 1, probe.targets)
    ones = torch.ones(len(outputs))
    return Telemetry(
        images=Numbers.of(inputs),
        images_range=(float(inputs.min()), float(inputs.max())),
        counts=data.train.targets.bincount(minlength=bench.outputs.size).tolist(),
        layers=[module for module in model.modules() if not list(module.children())],
        learning_rate=bench.learning_rate or 0.0,
        takes_logits=torch.allclose(plain, raised, rtol=1e-3, atol=1e-4),
        ends_in_probabilities=bool((outputs >= 0).all())
        and torch.allclose(outputs.sum(1), ones, atol=1e-3),
        planned_epochs=recipe.training.epochs,
    )


@torch.no_grad()
def _validate(seen: Telemetry, bench: Bench, model: nn.Module, loss: Loss) -> None:
    """Loss, accuracy and each class's recall on the validation split."""
    model.eval()
    losses, answers, labels = 0.0, [], []
    for batch in bench.data.batches(bench.data.val, 256):
        outputs = model(batch.inputs).float()
        losses += float(loss(outputs, batch.targets)) * len(batch.targets)
        answers.append(outputs.argmax(1))
        labels.append(batch.targets)
    answer, label = torch.cat(answers), torch.cat(labels)
    seen.val_loss.append(losses / len(label))
    seen.val_accuracy.append(float((answer == label).float().mean()))
    seen.recalls = [
        float((answer[label == number] == number).float().mean()) for number in label.unique()
    ]
