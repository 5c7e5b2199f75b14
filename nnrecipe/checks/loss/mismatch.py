"""Losses that are none of logits: each is found by an identity that no sound one satisfies."""

from __future__ import annotations

import math
from functools import partial

import torch

from nnrecipe.checks.loss.judgement import Judgement, proof, sign_of
from nnrecipe.checks.loss.probe import MISTAKEN, SURE, UNDONE, Form, LossProbe
from nnrecipe.core.causes import Cause

NO_PULL = 0.008
"""The share of an undecided example's pull below which a mistaken one isn't corrected."""


def not_finite(probe: LossProbe) -> Judgement:
    """A loss that isn't finite: a logarithm of logits, if it is finite for probabilities."""
    likely = probe.behind(Form.PROBABILITIES)
    takes = math.isfinite(likely.value(probe.logits(64), probe.targets(64)))
    if probe.form is Form.LOGITS and probe.task == "single_label" and takes:
        return proof(
            "the loss isn't finite for logits, and is for probabilities",
            Cause.LOSS_MISMATCH,
            "The loss takes probabilities and the model gives logits, whose logarithm isn't "
            "defined below 0: use cross_entropy, which takes logits, or end the model in softmax.",
        )
    return proof(
        "the loss isn't finite for ordinary outputs",
        Cause.NON_FINITE,
        "Look for a logarithm, a root or a division in the loss: keep its argument away from 0.",
        confidence=0.8,
    )


def without_logarithm(probe: LossProbe) -> Judgement | None:
    """Minus the right output's value, or minus its probability."""
    if _is_linear(probe):
        shown = f"the loss is linear in the model's {probe.form}"
    elif _is_a_probability(probe):
        shown = "the loss is minus the probability of the right class"
    else:
        return None
    return proof(
        shown,
        Cause.MISSING_LOG_SOFTMAX,
        "This is a negative log-likelihood that is given no log-probabilities: use cross_entropy "
        "on logits, or put log_softmax before it.",
    )


def _is_linear(probe: LossProbe) -> bool:
    """Whether the loss is linear in the model's outputs, and falls below 0."""
    if probe.form is Form.LOG_PROBABILITIES:
        return False
    targets, raw = probe.targets(64), probe.behind(Form.LOGITS)
    one, other = (probe.form.of(factor * probe.logits(64)) for factor in (1, -3))
    ends = [raw.value(outputs, targets) for outputs in (one, other)]
    middle = raw.value((one + other) / 2, targets)
    straight = math.isclose(2 * middle, sum(ends), rel_tol=1e-4, abs_tol=1e-5)
    lowest = probe.value(SURE * probe.answers(targets), targets)
    return straight and not math.isclose(*ends, rel_tol=1e-4) and lowest < -0.5


def _is_a_probability(probe: LossProbe) -> bool:
    """Whether the loss is minus the softmax of the right class."""
    if probe.task != "single_label":
        return False
    logits, targets = probe.logits(64), probe.targets(64)
    likely = float(logits.softmax(1).gather(1, targets[:, None]).mean())
    return math.isclose(probe.value(logits, targets), -likely, rel_tol=1e-4)


def over_the_batch(probe: LossProbe) -> Judgement | None:
    """Whether a shift of all examples' outputs for a class makes no difference."""
    if probe.task != "single_label":
        return None
    logits, targets = probe.logits(64), probe.targets(64)
    shifted = logits + torch.arange(probe.width, device=probe.device)
    if not math.isclose(probe.value(logits, targets), probe.value(shifted, targets), rel_tol=1e-4):
        return None
    return proof(
        "a shift of all examples' outputs for a class doesn't change the loss",
        Cause.LOSS_MISMATCH,
        "The loss compares an example's output for a class with the other examples' and not with "
        "its other outputs: take the softmax over dim=1, the classes, and not over the batch.",
    )


def squashed_twice(probe: LossProbe) -> Judgement | None:
    """Whether a loss of logits stands behind a softmax or a sigmoid, the model's or its own."""
    sigmoid = probe.form is Form.UNIT
    if probe.form in (Form.PROBABILITIES, Form.UNIT):
        twice = not _corrects_mistakes(probe) and _takes_logits(probe)
    else:
        twice, sigmoid = _has_the_floor_of_two(probe)
    if not twice:
        return None
    what = "sigmoid" if sigmoid else "softmax"
    return proof(
        "behind two squashing functions, a sure mistake has no gradient",
        Cause.SIGMOID_LOGITS if sigmoid else Cause.DOUBLE_SOFTMAX,
        "The outputs are squashed, by the model or by the loss itself, before the loss takes them "
        f"for logits, so that mistakes hardly move anything: drop the {what} before it.",
        confidence=0.9,
    )


def _takes_logits(probe: LossProbe) -> bool:
    """Whether the loss alone is one of logits: it corrects mistakes, and wants no certain values.

    It is tried on the CPU: there a loss that doesn't take logits raises, and on a GPU it might end
    the process.
    """
    alone = probe.behind(Form.LOGITS, device=torch.device("cpu"))
    try:
        return _corrects_mistakes(alone) and without_logarithm(alone) is of_values(alone) is None
    except UNDONE:
        return False


def _corrects_mistakes(probe: LossProbe) -> bool:
    """Whether a mistaken example is pulled as an undecided one, or at least not much less."""
    return probe.pull_at(MISTAKEN) > NO_PULL * probe.pull_at(0.0) > 0


def _has_the_floor_of_two(probe: LossProbe) -> tuple[bool, bool]:
    """Whether the loss is cross-entropy of probabilities, and whether those of a sigmoid.

    Of a softmax's or a sigmoid's 0 and 1 its values are ln(e + C - 1) less 1 or 0; of a label that
    is there they are ln(1 + 1/e) and ln 2.
    """
    if probe.task == "multi_label":
        there = torch.ones(64, probe.width, device=probe.device)
        ends = [probe.value(at * there, there) for at in (SURE, -SURE)]
        wanted = (math.log1p(math.exp(-1)), math.log(2))
        return all(map(partial(math.isclose, abs_tol=1e-3), ends, wanted)), True
    targets = torch.arange(probe.outputs.size, device=probe.device)
    right = SURE * (2 * probe.answers(targets) - 1)
    values = [probe.value(right, targets), probe.value(right.roll(1, 1), targets)]
    ceiling = math.log(math.e + probe.width - 1)
    if not all(map(partial(math.isclose, abs_tol=1e-3), values, (ceiling - 1, ceiling))):
        return False, False
    return True, not _ignores_a_shift(probe)


def _ignores_a_shift(probe: LossProbe) -> bool:
    """Whether the loss stays the same if all outputs of the model move together."""
    outputs, targets = probe.form.of(probe.logits(64)), probe.targets(64)
    alone = probe.behind(Form.LOGITS)
    return math.isclose(
        alone.value(outputs + 1, targets), alone.value(outputs, targets), rel_tol=1e-4
    )


def of_values(probe: LossProbe) -> Judgement | None:
    """Whether the loss wants the outputs to be certain values, as a regression does.

    It then pushes an answer back that is right and sure, about as hard as it pulls a wrong one. A
    loss of classes with smoothed labels pushes back as well, but by as little as they are smoothed;
    and one of classes doesn't mind if all logits move together.
    """
    back, forth = probe.pull_at(SURE), probe.pull_at(-SURE)
    if not back < -0.5 * forth < 0:
        return None
    unbounded = probe.form in (Form.LOGITS, Form.LOG_PROBABILITIES)
    if probe.task == "single_label" and unbounded and _ignores_a_shift(probe):
        return None
    return sign_of(
        f"the pull on an answer that is right by {SURE:g} is {back:.3g}, on one that is wrong by "
        f"as much {forth:.3g}",
        Cause.LOSS_MISMATCH,
        "The loss is one of values, as in a regression: answers that are right and sure are "
        "punished like wrong ones. For classes use cross_entropy, for labels bce_with_logits.",
        confidence=0.85,
    )


def relative(probe: LossProbe) -> Judgement | None:
    """Whether a loss of labels that are each there or not compares their outputs alone."""
    if probe.task != "multi_label" or probe.form is not Form.LOGITS or not _ignores_a_shift(probe):
        return None
    return sign_of(
        "the loss stays the same if all outputs move together",
        Cause.LOSS_MISMATCH,
        "The loss ranks the labels against each other, as if one of them were right, and a label "
        "counts as there where its output is above 0: use bce_with_logits.",
        confidence=0.6,
    )


def undecided(probe: LossProbe) -> Judgement | None:
    """Whether the loss is as low where all outputs are alike as where the right ones stand out."""
    if probe.task != "single_label":
        return None
    targets = probe.targets(8 * probe.outputs.size)
    answers = probe.answers(targets)
    right = min(probe.value(at * answers, targets) for at in (1.0, 5.0, SURE))
    alike = min(probe.value(at * torch.ones_like(answers), targets) for at in (0.0, SURE))
    if not alike <= right + 1e-3 * abs(right):
        return None
    return proof(
        f"the loss of outputs that are all alike is {alike:.3g}, of right ones {right:.3g}",
        Cause.LOSS_MISMATCH,
        "The loss rewards the right class's output and doesn't punish the others', so the same "
        "large output for every class is as good as the right answer: use cross_entropy.",
        confidence=0.9,
    )


def bounded(probe: LossProbe) -> Judgement | None:
    """Whether mistakes have hardly a gradient: the squared error of probabilities, for one."""
    neither, mistaken = probe.pull_at(0.0), probe.pull_at(MISTAKEN)
    if not 0 <= mistaken <= NO_PULL * neither:
        return None
    return sign_of(
        f"the pull on a mistaken answer is {mistaken:.3g}, on an undecided one {neither:.3g}",
        Cause.LOSS_MISMATCH,
        "The loss is flat where the model is surely wrong, so mistakes are hardly corrected: for "
        "classes use cross_entropy, for labels bce_with_logits.",
        confidence=0.8 if mistaken == 0 else 0.6,
    )
