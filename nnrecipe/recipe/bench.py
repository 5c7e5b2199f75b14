"""From a recipe and its data to the bench that stages and checks work with."""

from __future__ import annotations

import torch
from torch import nn

from nnrecipe.checks import Bench
from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import assign, group, standard_rules
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.targets import blaming
from nnrecipe.data import DataBundle
from nnrecipe.recipe.model import Recipe


def make_bench(recipe: Recipe, data: DataBundle, *, device: torch.device) -> Bench:
    """The bench that the recipe's parts make together; tries the user's own parts once."""
    first = _make_model(recipe, data)
    rules = standard_rules(first, recipe.transfer.freeze)
    frozen = frozenset(row.path for row in assign(first, rules) if row.rule.freeze)
    lr = recipe.optimizer.lr

    def make_model() -> nn.Module:
        made = _make_model(recipe, data)
        for path, parameter in made.named_parameters():
            if path in frozen:
                parameter.requires_grad_(False)
        return made.to(device)

    def make_optimizer(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        weight_decay = recipe.optimizer.weight_decay if decay else 0.0
        groups = group(model, rules, lr=lr, weight_decay=weight_decay)
        return recipe.optimizer.build(groups, lr=lr)

    bench = Bench(
        data=data,
        make_model=make_model,
        make_optimizer=make_optimizer,
        loss=recipe.loss.build(data.outputs),
        bare_loss=recipe.loss.unregularized().build(data.outputs),
        chance=recipe.loss.chance_level(data.outputs),
        penalty=recipe.regularization.penalty(),
        device=device,
        seed=recipe.seed,
        batch_size=recipe.training.batch_size,
        learning_rate=None if lr == "auto" else lr,
        precision=recipe.precision,
        clip_norm=recipe.training.clip_norm,
        frozen=frozen,
    )
    if recipe.architecture.kind == "custom":
        _try_once(bench, recipe.architecture.target)
    return bench


def _make_model(recipe: Recipe, data: DataBundle) -> nn.Module:
    with isolated_rng(recipe.seed, "model"):
        model = recipe.architecture.build(
            data.input_shape,
            data.outputs,
            norm=recipe.norm,
            dropout=recipe.regularization.dropout,
        )
        if recipe.init is not None:
            recipe.init.apply(model, activation=recipe.architecture.activation)
    return model


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
            f"it must give logits [N, {bench.num_classes}]"
        )
