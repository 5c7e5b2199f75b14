"""From a recipe and its data to the bench that stages and checks work with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnrecipe.architectures.weights import Pretrained
from nnrecipe.checks import Bench
from nnrecipe.core.device import Precision, pick_precision
from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import assign, group
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.targets import blaming
from nnrecipe.data import DataBundle
from nnrecipe.init import Init
from nnrecipe.layers import Activation
from nnrecipe.losses import Loss, LossCallable, TaskLosses, TasksLoss
from nnrecipe.optimizers import CustomOptimizer
from nnrecipe.recipe.model import Recipe
from nnrecipe.training.fit import epoch_batches

FIRST_BATCHES = 10
"""Training batches over which the losses of several tasks are measured at the start."""
INIT_EXAMPLES = 64
"""Training examples that an init which looks at data gets to see."""


def make_bench(recipe: Recipe, data: DataBundle, *, device: torch.device) -> Bench:
    """The bench that the recipe's parts make together; tries the user's own parts once."""
    first = _make_model(recipe, data)
    pretrained = _pretrained(recipe, first, data)
    transfer, few = recipe.transfer, _first_inputs(data, 2)
    first = transfer.arrange(first, few, outputs=data.outputs.size)
    rules = transfer.rules(first)
    frozen = frozenset(row.path for row in assign(first, rules) if row.rule.freeze)
    lr = recipe.optimizer.lr

    def make_model(of: Recipe = recipe) -> nn.Module:
        made = _make_model(of, data)
        if pretrained is not None and of.architecture.weights is not None:
            pretrained.load_into(made)
        with isolated_rng(of.seed, "head"):
            made = transfer.arrange(made, few, outputs=data.outputs.size)
        for path, parameter in made.named_parameters():
            if path in frozen:
                parameter.requires_grad_(False)
        return made.to(device=device, memory_format=memory_format(of))  # type: ignore[call-overload,no-any-return]

    def make_variant(
        *, init: Init | None = None, activation: Activation | None = None, seed: int | None = None
    ) -> nn.Module:
        started = recipe.started(init=init, activation=activation)
        return make_model(started if seed is None else started.model_copy(update={"seed": seed}))

    def make_optimizer(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        weight_decay = recipe.optimizer.weight_decay if decay else 0.0
        groups = group(model, rules, lr=lr, weight_decay=weight_decay)
        return recipe.optimizer.build(groups, lr=lr)

    first_losses = cache(lambda: _first_losses(recipe, data, make_model()))

    def make_loss(spec: Loss = recipe.loss) -> LossCallable:
        made = _make_loss(spec, recipe, data)
        if isinstance(made, TaskLosses):
            made.weighting.to(device)
            if isinstance(spec, TasksLoss) and spec.weights.measures:
                made.weighting.begin(first_losses().to(device))
        return made

    bench = Bench(
        data=data,
        make_model=make_model,
        make_variant=make_variant,
        make_optimizer=make_optimizer,
        make_loss=make_loss,
        make_bare_loss=lambda: make_loss(recipe.loss.unregularized()),
        chance=_chance(recipe.loss, make_loss, data),
        penalty=recipe.regularization.penalty(),
        device=device,
        seed=recipe.seed,
        batch_size=recipe.training.batch_size,
        learning_rate=None if lr == "auto" else lr,
        shuffle=recipe.training.shuffle,
        precision=precision_of(recipe, device),
        limits=recipe.training.limits(weight_norm=recipe.regularization.max_norm),
        mixing=recipe.regularization.mixing(),
        reevaluates=recipe.optimizer.calls_objective,
        frozen=frozen,
        pretrained=pretrained,
        thaw=None if transfer.unfreeze is None else transfer.thaw,
        with_strategy=lambda strategy: make_bench(
            recipe.model_copy(
                update={"transfer": transfer.model_copy(update={"strategy": strategy})}
            ),
            data,
            device=device,
        ),
    )
    if recipe.architecture.kind == "custom":
        _try_once(bench, recipe.architecture.target)
    make_optimizer(make_model(), lr=bench.learning_rate or 1e-3)  # refuses what can't be trained
    return bench


def _pretrained(recipe: Recipe, model: nn.Module, data: DataBundle) -> Pretrained | None:
    """The weights that the recipe starts from, as they fit its model; None for random ones."""
    architecture, classes = recipe.architecture, data.classes
    if architecture.weights is None:
        return None
    return architecture.weights.fitted(model, classes=classes, model=architecture.weights_of)


def precision_of(recipe: Recipe, device: torch.device) -> Precision:
    """The number format of the recipe's forward passes on a device."""
    convolves = memory_format(recipe) == torch.channels_last
    return pick_precision(recipe.precision, device, convolves=convolves)


def memory_format(recipe: Recipe) -> torch.memory_format:
    """How the weights lie in memory: as the architecture is fastest, if the optimizer can take it.

    lbfgs and many an optimizer of a user's own see a gradient as one long row.
    """
    optimizer = recipe.optimizer
    if optimizer.calls_objective or isinstance(optimizer, CustomOptimizer):
        return torch.contiguous_format
    return recipe.architecture.memory_format


def _make_loss(loss: Loss, recipe: Recipe, data: DataBundle) -> LossCallable:
    with isolated_rng(recipe.seed, "loss"):
        return loss.build(data.outputs)


def _chance(spec: Loss, make_loss: Callable[[], LossCallable], data: DataBundle) -> float | None:
    """The loss of knowing nothing; of several tasks the sum, as they are weighed at the start."""
    if isinstance(spec, TasksLoss):
        loss = make_loss()
        assert isinstance(loss, TaskLosses), "is what the spec builds"
        return loss.chance
    return spec.chance_level(data.outputs)


@torch.no_grad()
def _first_losses(recipe: Recipe, data: DataBundle, model: nn.Module) -> Tensor:
    """[T] The losses of several tasks over the first training batches, before any step."""
    loss = _make_loss(recipe.loss, recipe, data)
    assert isinstance(loss, TaskLosses), "only several tasks are measured"
    with isolated_rng(recipe.seed, "first losses"):
        batches = epoch_batches(data, recipe.training, recipe.seed, 1)
        found = [
            loss.each(model.train()(inputs), targets)
            for inputs, targets in islice(batches, FIRST_BATCHES)
        ]
    return torch.stack(found).mean(0)


def _make_model(recipe: Recipe, data: DataBundle) -> nn.Module:
    with isolated_rng(recipe.seed, "model"):
        model = recipe.architecture.build(data.input_shape, data.outputs, hidden=recipe.hidden)
        if any(is_lazy(parameter) for parameter in model.parameters()):
            materialize(model, _first_inputs(data, 2))
        if recipe.init is not None:
            recipe.init.apply(
                model,
                activation=recipe.architecture.activation,
                inputs=_first_inputs(data, INIT_EXAMPLES),
                outputs=data.outputs,
            )
    return model


@torch.no_grad()
def materialize(model: nn.Module, inputs: Tensor) -> None:
    """Lazy layers, which only a user's module has, learn their sizes from a first batch."""
    with blaming("architecture.target", type(model).__name__):
        model.eval()(inputs)
    model.train()


def _first_inputs(data: DataBundle, count: int) -> Tensor:
    """The first training examples as the model sees them, on the CPU."""
    indices = torch.arange(min(count, len(data.train)))
    return data.examples(data.train, indices).inputs.cpu()


@torch.no_grad()
def _try_once(bench: Bench, target: str) -> None:
    """One forward pass of a user's module, so that a misfit is told as theirs, in their terms."""
    batch = bench.sample(bench.data.train, 2)
    with blaming("architecture.target", target):
        logits = bench.make_model().eval()(batch.inputs)
    shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(batch.inputs):
        raise UserError(
            f"architecture.target: {target} maps inputs {list(batch.inputs.shape)} to {shape}: "
            f"it must give [N, {bench.outputs.size}]"
        )
