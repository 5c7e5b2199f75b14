"""Training against validation: what the model has learned by heart, and what it never saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from nnrecipe.checks.history.reasons import Reason, too_much_dropout, too_small_batches
from nnrecipe.checks.history.settings import STRONG_DROPOUT
from nnrecipe.checks.history.trained import LEAST_STEPS, Conditions, Trained
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict

APART = 0.08
"""How much less accurate validation is than training where a rising loss means overfitting."""
FAR_APART = 0.15
"""The same, where there are few examples and the loss need not rise."""
FEW = 100
"""Training examples of a class at which a gap is likely to be for want of data."""
BEHIND = 0.2
"""How much less accurate a model may be in eval mode than it was in training."""
HARDER = 0.1
"""How much less accurate training is than evaluation where what makes it harder is too strong."""
LEARNED, UNKNOWN = 0.9, 0.1
"""Skill on the training and the validation split, of a model that learned by heart alone."""


def judge_gap(trained: Trained) -> Iterator[Finding]:
    """Overfitting: validation loss has risen well above its minimum while training fell on.

    It must be there in the last two epochs: what one epoch alone shows is oscillation.
    Besides, validation must be clearly less right than training, of several tasks by their score;
    in a regression, which counts no right examples, its loss must be more than half again as large.
    """
    validated = list(trained.epochs())
    if len(validated) < 3:
        return
    lowest = min(validation.loss for _, validation in validated)
    record, last = validated[-1]
    train_loss, train = record.train_loss, record.train_accuracy
    if trained.clean is not None:
        train_loss = trained.clean.loss
        if train is not None or trained.outputs.task == "several":
            train = trained.clean.headline[1]
    recent = min(validation.loss for _, validation in validated[-2:])
    rising = recent > 1.25 * lowest and recent > train_loss
    name, reached = last.headline
    told = f"{name} {reached:.3f} in validation"
    gap = last.loss / max(train_loss, 1e-12) - 1
    apart, far = gap > 0.5, False
    if train is not None:
        gap = train - reached
        apart, far = gap > APART, gap > FAR_APART
        told = f"{name} {train:.3f} in training, {reached:.3f} in validation"
    reason = (
        _reason(trained) if (rising and apart) or (far and trained.is_short_of_data(FEW)) else None
    )
    yield Finding(
        check="generalization",
        verdict=Verdict.PASS if reason is None else Verdict.WARN,
        measured=f"{told}; loss {train_loss:.4g} in training, {last.loss:.4g} in "
        f"validation, at best {lowest:.4g}",
        expected="a small gap, and no rise of the validation loss",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="lecture: monitoring, the gap between training and validation accuracy",
    )


def _reason(trained: Trained) -> Reason:
    overfitting = Reason(
        Cause.OVERFITTING,
        0.7,
        "More data, data.augment, regularization.l2 or dropout, or early stopping: the model "
        "learns the training examples by heart.",
    )
    if not trained.is_short_of_data(FEW):
        return overfitting
    counts = [count for count in trained.outputs.class_counts if count]
    return replace(
        overfitting,
        cause=Cause.TOO_LITTLE_DATA,
        advice=f"Collect more examples than {sum(counts) / len(counts):.0f} a class, check "
        "data.limit, add data.augment, or start from a pretrained network (transfer): so few are "
        "soon learned by heart.",
    )


def judge_strangers(trained: Trained) -> Iterator[Finding]:
    """A model that knows its training examples, and of the validation split nothing or less."""
    skill, validation = trained.skill, trained.last.validation
    if skill is None or validation is None or trained.outputs.task != "single_label":
        return
    _, right = validation.headline
    guess = 1 / max(trained.outputs.size, 2)
    below = guess - right > 3 * math.sqrt(guess * (1 - guess) / validation.examples)
    if skill > 0.5 and below and right < 0.6 * guess:
        verdict, cause, confidence = Verdict.FAIL, Cause.LABEL_MAP_MISMATCH, 0.8
        advice = (
            "Compare how the two splits map class names to numbers: the model is wrong in "
            "validation more often than a guess, so its classes mean something else there."
        )
    elif skill > LEARNED and trained.val_skill is not None and trained.val_skill < UNKNOWN:
        verdict, cause, confidence = Verdict.WARN, Cause.INPUT_DESTROYED, 0.3
        advice = (
            "Look at the inputs as the model sees them and at their labels: it learned the "
            "training split by heart and found nothing in it that holds for other examples."
        )
    else:
        return
    yield Finding(
        check="strange_validation",
        verdict=verdict,
        measured=f"accuracy {right:.3f} in validation, a skill of {skill:.2f} in training",
        expected=f"above {guess:.3g}, that of a guess",
        cause=cause,
        confidence=confidence,
        advice=advice,
        source="lecture: monitoring, the gap between training and validation accuracy",
    )


def judge_training_gap(trained: Trained) -> Iterator[Finding]:
    """Training that is much harder than evaluation: too much dropout or augmentation.

    An epoch's training accuracy is compared with those of the final model on training examples as
    they are, and of validation around that epoch; mixed examples can't be right, and don't count.
    """
    validated = list(trained.epochs())
    record = trained.last
    if trained.clean is None or record.train_accuracy is None or trained.conditions.mixed:
        return
    if len(validated) < 3 or trained.is_poor:
        return
    during = record.train_accuracy
    around = [validation.headline[1] for _, validation in validated[-2:]]
    clean, (before, after) = trained.clean.headline[1], around
    eased = min(clean, (before + after) / 2) - during
    harder = (before + after) / 2 - clean
    reason = None
    if eased > HARDER:
        reason = _of_training(trained.conditions)
    elif harder > HARDER:
        reason = _of_examples(trained.conditions)
    yield Finding(
        check="training_gap",
        verdict=Verdict.PASS if reason is None else Verdict.WARN,
        measured=f"accuracy {during:.3f} while training, {clean:.3f} on training examples in eval "
        f"mode, {after:.3f} in validation",
        expected=f"training less than {HARDER:g} below the others",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="lecture: regularization",
    )


def _of_examples(conditions: Conditions) -> Reason:
    """What makes the training examples themselves harder than the validation split's."""
    return Reason(
        Cause.AUGMENTATION_TOO_STRONG if conditions.augmented else Cause.LABEL_NOISE,
        0.3,
        "Look at training examples together with their labels, as the Dataset gives them: wrong "
        "labels, or a transform that spoils the inputs, make them harder to get right than those "
        "of the validation split, which are as they should be.",
    )


def _of_training(conditions: Conditions) -> Reason | None:
    """What makes training harder: batch norms over next to nothing, dropout, or augmentation.

    Dropout may be a function's, which is not seen among the modules. But batch norms alone can make
    a difference between the modes, too.
    """
    if conditions.has_small_batch_norm:
        return too_small_batches(conditions, confidence=0.7)
    strong = conditions.dropout >= STRONG_DROPOUT
    if conditions.augmented and not strong:
        return Reason(
            Cause.AUGMENTATION_TOO_STRONG,
            0.6,
            "Make data.augment weaker, and look at the pictures of a training batch: the network "
            "gets the same examples right as they are, and not as they are changed.",
        )
    if conditions.norm_batch and not conditions.dropout:
        return None
    return too_much_dropout(conditions, confidence=0.6 if strong else 0.4)


def judge_eval_mode(trained: Trained) -> Iterator[Finding]:
    """A model that gets its training examples right while it trains, and not in eval mode.

    It has only become better since, so the mode itself makes the difference.
    """
    conditions, record = trained.conditions, trained.last
    if trained.clean is None or record.step < LEAST_STEPS or conditions.has_small_batch_norm:
        return
    if not trained.is_behind(BEHIND):
        return
    assert record.train_accuracy is not None, "what is behind has been compared"
    normed = conditions.norm_batch > 0
    yield Finding(
        check="eval_mode",
        verdict=Verdict.WARN,
        measured=f"accuracy {record.train_accuracy:.3f} while training, "
        f"{trained.clean.headline[1]:.3f} on training examples in eval mode",
        expected=f"less than {BEHIND:g} apart",
        cause=Cause.BN_STATS if normed else None,
        confidence=0.6 if normed else 0.0,
        advice="Look at the batch norms' momentum and at track_running_stats: in eval mode they "
        "use running statistics, which are not those of the batches."
        if normed
        else "Look at what the model does with self.training: in eval mode it computes something "
        "else than what it was trained on.",
        source="DeepChecker (Ben Braiek & Khomh 2023)",
    )


def judge_swings(trained: Trained) -> Iterator[Finding]:
    """Batch norms over a few examples: validation goes up and down, or is behind training."""
    conditions = trained.conditions
    scores = [validation.headline[1] for _, validation in trained.epochs()]
    if not conditions.has_small_batch_norm or len(scores) < 2:
        return
    swing = max(max(scores[:place]) - scores[place] for place in range(1, len(scores)))
    swings = swing > max(0.03, 3 * trained.noise)
    bad = swings or trained.is_behind(HARDER) or trained.is_poor
    reason = too_small_batches(conditions, confidence=0.7) if bad else None
    yield Finding(
        check="small_batch_norm",
        verdict=Verdict.WARN if bad else Verdict.PASS,
        measured=f"batch norms over {conditions.norm_batch} examples; validation fell by up to "
        f"{max(swing, 0.0):.3f} below what it had reached",
        expected="statistics of 16 examples or more",
        cause=None if reason is None else reason.cause,
        confidence=0.0 if reason is None else reason.confidence,
        advice="" if reason is None else reason.advice,
        source="Wu & He 2018, Group Normalization, figure 1",
    )


def judge_average(trained: Trained) -> Iterator[Finding]:
    """An average of the weights that early stopping left no epochs for."""
    first = trained.conditions.averages_from
    if first is None or len(trained.records) >= first or not trained.stopped_early:
        return
    yield Finding(
        check="averaging",
        verdict=Verdict.WARN,
        measured=f"stopped in epoch {trained.last.epoch}, before the average began in {first}",
        expected="an average over some epochs",
        advice="Let training.average.start be earlier, or early stopping be more patient: what was "
        "evaluated and kept are the plain weights.",
        source="Izmailov et al. 2018",
    )
