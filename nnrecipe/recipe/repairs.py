"""Config values that mend a cause, where a value of the config brings it about.

A cause that lies in the user's own code or data has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nnrecipe.core.causes import Cause
from nnrecipe.core.diagnosis import Diagnosis
from nnrecipe.core.errors import RecipeError
from nnrecipe.core.report import Report
from nnrecipe.layers.norms import BatchNorm, NoNorm
from nnrecipe.losses import TasksLoss
from nnrecipe.optimizers import AdamW, CustomOptimizer
from nnrecipe.recipe.changes import changed
from nnrecipe.recipe.model import Recipe

Overrides = tuple[str, ...]
USUAL_MOMENTUM, USUAL_EPS, USUAL_DROPOUT = 0.9, 1e-8, 0.2
USUAL_DECAY, USUAL_DECOUPLED_DECAY, USUAL_L2, USUAL_L1 = 5e-4, 0.01, 1e-4, 1e-5
SMALL_BATCH, USUAL_BATCH = 16, 32
SQUASHING = ("sigmoid", "tanh")
LONGER = 3
"""By how much a training that was too short is prolonged."""
SURE = 0.5
"""The confidence from which a cause that isn't the first is repaired along with it."""


def repairs(recipe: Recipe, cause: Cause, *, rate: float | None = None) -> Overrides:
    """Overrides that mend the cause; none where no value of the recipe brings it about.

    `rate` is the learning rate that the probe suggests, if it found one. Of several ways the first
    is taken that the recipe's other parts agree with.
    """
    ways = [*_REPAIRS.get(cause, _always())(recipe)]
    if cause in _RATES:
        ways = [*_rate(recipe, rate)]
    return next((way for way in ways if way and _differs(recipe, way)), ())


def with_repairs(report: Report, recipe: Recipe) -> Report:
    """The report with the overrides that mend each cause of its diagnosis.

    What a check proposes itself stays, as far as the recipe can take it.
    """
    rate = suggested_rate(report)

    def mended(diagnosis: Diagnosis) -> Diagnosis:
        change = diagnosis.change
        if not change or not _differs(recipe, change):
            change = repairs(recipe, diagnosis.cause, rate=rate)
        return diagnosis.model_copy(update={"change": change})

    return report.model_copy(update={"diagnosis": tuple(map(mended, report.diagnosis))})


def to_apply(recipe: Recipe, diagnosis: Sequence[Diagnosis]) -> Overrides:
    """The changes of the first cause and of all that are about as sure, together.

    One that contradicts an earlier one, or can't go with it, is left out.
    """
    chosen: Overrides = ()
    for place, found in enumerate(diagnosis):
        if not found.change or (place and found.confidence < SURE):
            continue
        keys = {_key(override) for override in chosen}
        added = tuple(override for override in found.change if _key(override) not in keys)
        if added and _differs(recipe, chosen + added):
            chosen += added
    return chosen


def suggested_rate(report: Report) -> float | None:
    """The learning rate that the probe found best."""
    facts = {stage.stage: stage.facts for stage in report.stages}
    rate = facts.get("lr_probe", {}).get("suggested")
    return rate if isinstance(rate, float) else None


def _differs(recipe: Recipe, change: Overrides) -> bool:
    """Whether the change can be made, and makes a difference."""
    try:
        return changed(recipe, change) != recipe
    except RecipeError:
        return False


def _key(override: str) -> str:
    return override.partition("=")[0].removeprefix("~")


def _always(*ways: Overrides) -> Callable[[Recipe], Iterable[Overrides]]:
    """The same ways for every recipe, which `_differs` sifts."""
    return lambda _recipe: ways


def _scale_inputs(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.data.normalize.kind in ("none", "center"):
        yield ("data.normalize=standardize",)


def _keep_signals(recipe: Recipe) -> Iterable[Overrides]:
    """What keeps activations and gradients at their size through many layers."""
    activation = recipe.architecture.activation
    if recipe.init is not None and recipe.init.kind in ("zeros", "constant", "normal"):
        yield ("init=kaiming_normal",)
    if activation is not None and activation.kind in SQUASHING:
        yield ("architecture.activation=relu", "init=kaiming_normal")
        yield ("architecture.activation=relu",)
    if isinstance(recipe.norm, NoNorm):
        yield ("norm=batch",)


def _wake_units(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.init is not None:
        yield ("init=kaiming_normal",)


def _drop_less(recipe: Recipe) -> Iterable[Overrides]:
    regularization = recipe.regularization
    dropout, dropblock = regularization.dropout, regularization.dropblock
    if dropout is not None and dropout.active:
        yield (f"regularization.dropout={USUAL_DROPOUT:g}",)
    if dropblock is not None and dropblock.active:
        yield ("regularization.dropblock=null",)
    if regularization.stochastic_depth > USUAL_DROPOUT:
        yield (f"regularization.stochastic_depth={USUAL_DROPOUT:g}",)


def _penalize_less(recipe: Recipe) -> Iterable[Overrides]:
    """A hundredth of each penalty that is above what is usual, or the usual if that is less."""
    decoupled = isinstance(recipe.optimizer, AdamW)
    usual = {
        "optimizer.weight_decay": USUAL_DECOUPLED_DECAY if decoupled else USUAL_DECAY,
        "regularization.l2": USUAL_L2,
        "regularization.l1": USUAL_L1,
    }
    present = {
        "optimizer.weight_decay": recipe.optimizer.weight_decay,
        "regularization.l2": recipe.regularization.l2,
        "regularization.l1": recipe.regularization.l1,
    }
    yield (
        *(
            f"{key}={min(value / 100, usual[key]):g}"
            for key, value in present.items()
            if value > usual[key]
        ),
        *(("regularization.max_norm=null",) if recipe.regularization.max_norm else ()),
    )


def _rate(recipe: Recipe, rate: float | None) -> Iterable[Overrides]:
    if rate is not None:
        yield (f"optimizer.lr={rate:g}",)
    elif recipe.optimizer.lr != "auto":
        yield ("optimizer.lr=auto",)


def _usual_eps(recipe: Recipe) -> Iterable[Overrides]:
    if not isinstance(recipe.optimizer, CustomOptimizer):
        yield (f"optimizer.eps={USUAL_EPS:g}",)


def _larger_batches(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.training.batch_size < SMALL_BATCH:
        yield (f"training.batch_size={USUAL_BATCH}",)
    elif isinstance(recipe.norm, BatchNorm):
        yield ("norm=group",)


def _usual_statistics(recipe: Recipe) -> Iterable[Overrides]:
    if isinstance(recipe.norm, BatchNorm):
        yield ("norm=batch",)


def _train_longer(recipe: Recipe) -> Iterable[Overrides]:
    yield (f"training.epochs={LONGER * recipe.training.epochs}",)


def _decay_over_all(recipe: Recipe) -> Iterable[Overrides]:
    """A schedule that spans the training, in place of one that doesn't."""
    if recipe.scheduler.kind != "constant":
        yield ("scheduler=cosine",)


def _clip_nothing(recipe: Recipe) -> Iterable[Overrides]:
    training = recipe.training
    present = {"clip_norm": training.clip_norm, "clip_value": training.clip_value}
    yield tuple(f"training.{key}=null" for key, value in present.items() if value is not None)


def _augment_nothing(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.data.augment:
        yield ("data.augment=[]",)


def _balance(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.loss.kind != "custom":
        yield ("loss.class_weights=balanced",)


def _weigh_alike(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.loss.kind != "custom":
        yield ("loss.class_weights=null",)
        yield ("loss.pos_weight=null",)


def _usual_loss(recipe: Recipe) -> Iterable[Overrides]:
    """The one for classes, in place of any other; of several tasks, losses that start alike."""
    if isinstance(recipe.loss, TasksLoss):
        yield ("loss.weights=auto",)
    elif recipe.loss.kind != "cross_entropy" and recipe.data.predicts == "single_label":
        yield ("loss=cross_entropy",)


def _take_logits(recipe: Recipe) -> Iterable[Overrides]:
    if recipe.loss.kind == "nll":
        yield ("loss=cross_entropy",)


_DRAWN = _always(("init=kaiming_normal",))
"""Weights scaled by their fan-in; a custom network's too, whose own code has drawn them."""
_RATES = frozenset({Cause.LR_TOO_HIGH, Cause.LR_TOO_LOW})
_REPAIRS: dict[Cause, Callable[[Recipe], Iterable[Overrides]]] = {
    Cause.INPUT_UNSCALED: _scale_inputs,
    Cause.DOUBLE_SCALING: _scale_inputs,
    Cause.TOO_LITTLE_DATA: _always(("data.limit=null",)),
    Cause.CLASS_IMBALANCE: _balance,
    Cause.AUGMENTATION_TOO_STRONG: _augment_nothing,
    Cause.INPUT_DESTROYED: _augment_nothing,
    Cause.UNSHUFFLED: _always(("training.shuffle=true",)),
    Cause.ZERO_INIT: _DRAWN,
    Cause.CONSTANT_INIT: _DRAWN,
    Cause.INIT_TOO_LARGE: _DRAWN,
    Cause.INIT_TOO_SMALL: _DRAWN,
    Cause.DEAD_RELU: _wake_units,
    Cause.VANISHING_GRADIENT: _keep_signals,
    Cause.EXPLODING_GRADIENT: _keep_signals,
    Cause.EXPLODING_ACTIVATIONS: _keep_signals,
    Cause.SATURATED_UNITS: _keep_signals,
    Cause.SATURATING_DEPTH: _keep_signals,
    Cause.TOO_DEEP: _keep_signals,
    Cause.DROPOUT_TOO_HIGH: _drop_less,
    Cause.BN_STATS: _usual_statistics,
    Cause.BN_SMALL_BATCH: _larger_batches,
    Cause.LOSS_MISMATCH: _usual_loss,
    Cause.MISSING_LOG_SOFTMAX: _take_logits,
    Cause.BAD_CLASS_WEIGHTS: _weigh_alike,
    Cause.OVER_REGULARIZED: _penalize_less,
    Cause.MOMENTUM_TOO_HIGH: _always(
        (f"optimizer.momentum={USUAL_MOMENTUM:g}",),
        (f"optimizer.betas=[{USUAL_MOMENTUM:g}, 0.999]",),
    ),
    Cause.UNDERTRAINED: _train_longer,
    Cause.SCHEDULE_TOO_FAST: _decay_over_all,
    Cause.CLIP_TOO_SMALL: _clip_nothing,
    Cause.ADAM_EPS: _usual_eps,
}
"""Cause -> the ways to mend it by the config, the best first. A new repair is an entry here."""
