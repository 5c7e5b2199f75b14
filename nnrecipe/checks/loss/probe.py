"""A loss taken apart: what it makes of made-up logits, whatever the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.checks.bench import Bench
from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.losses import LossCallable

PURPOSE = "loss_probe"
MISTAKEN, SURE = -7.0, 15.0
"""How far the right answer's logit lies from the others' where the model is mistaken, and sure.

The sigmoid of the one is 0.001; that of the other is still told from 1 in float32.
"""
UNDONE = (RuntimeError, ValueError, TypeError, IndexError, UserError)
"""What a loss may raise that doesn't take made-up outputs."""


class Form(StrEnum):
    """What a model gives, as its outputs show."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    LOG_PROBABILITIES = "log-probabilities"
    UNIT = "numbers between 0 and 1"

    def of(self, logits: Tensor) -> Tensor:
        """The outputs [N, C] that such a model gives for what would be these logits."""
        match self:
            case Form.LOGITS:
                return logits
            case Form.PROBABILITIES:
                return logits.softmax(1)
            case Form.LOG_PROBABILITIES:
                return logits.log_softmax(1)
            case Form.UNIT:
                return logits.sigmoid()


@dataclass(frozen=True)
class LossProbe:
    """A loss as a function of made-up logits [N, width], in the form of the model's outputs.

    So it is the user's pair of model and loss that is probed: a loss of probabilities is sound
    behind a model that gives them. A regression's estimates count as logits here.
    """

    loss: LossCallable
    form: Form
    outputs: OutputSpec
    width: int
    device: torch.device
    seed: int

    @classmethod
    def of(cls, bench: Bench) -> LossProbe:
        """The bench's loss, and the form and the number of its model's outputs."""
        given = _outputs(bench, factor=1.0)
        form = _form(bench, given)
        return cls(bench.make_loss(), form, bench.outputs, given.shape[1], bench.device, bench.seed)

    @property
    def task(self) -> Task:
        """What kind of targets the loss is given."""
        return self.outputs.task

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, whatever its shape; its own randomness is always the same."""
        with isolated_rng(self.seed, PURPOSE):
            return self.loss(self.form.of(logits), targets)

    def value(self, logits: Tensor, targets: Tensor) -> float:
        """The loss as a number."""
        with torch.no_grad():
            return float(self(logits, targets))

    def has_gradient(self, logits: Tensor, targets: Tensor) -> bool:
        """Whether autograd can follow the loss back to the outputs."""
        return self._gradient(logits, targets) is not None

    def pull(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Where a small step down the loss would take the logits: minus its gradient [N, width].

        Zero where the loss has no gradient.
        """
        gradient = self._gradient(logits, targets)
        return torch.zeros_like(logits) if gradient is None else -gradient

    def _gradient(self, logits: Tensor, targets: Tensor) -> Tensor | None:
        leaf = logits.clone().requires_grad_()
        with torch.enable_grad():
            value = self(leaf, targets)
            if not value.requires_grad:
                return None
            return torch.autograd.grad(value, leaf, allow_unused=True)[0]

    def pull_at(self, at: float) -> float:
        """The mean pull on the right answer's logit where it is `at` and the others are 0.

        Of labels, all logits lie `at` towards the right side.
        """
        targets = self.targets(8 * self.outputs.size)
        answers = self.answers(targets)
        return float((self.pull(at * answers, targets) * answers).sum() / answers.abs().sum())

    def behind(self, form: Form, *, device: torch.device | None = None) -> LossProbe:
        """The same loss behind a model of another form: behind one of logits it stands alone."""
        return replace(self, form=form, device=device or self.device)

    def logits(self, count: int, *, spread: float = 1.0) -> Tensor:
        """Random logits [count, width] about 0, always the same."""
        drawn = torch.randn(count, self.width, generator=generator(self.seed, PURPOSE, "logits"))
        return (spread * drawn).to(self.device)

    def targets(self, count: int) -> Tensor:
        """Random targets: each class as often as the others, each label there or not, values."""
        draw = generator(self.seed, PURPOSE, "targets")
        size = self.outputs.size
        if self.task == "single_label":
            return (torch.randperm(count, generator=draw) % size).to(self.device)
        if self.task == "multi_label":
            return torch.randint(2, (count, size), generator=draw).float().to(self.device)
        values = torch.randn(count, size, generator=draw)
        mean, spread = self.outputs.target_mean, self.outputs.target_std
        if mean:
            values = torch.tensor(mean) + torch.tensor(spread) * values
        return values.to(self.device)

    def answers(self, targets: Tensor) -> Tensor:
        """The direction of the right answer, [N, width]: one-hot, or 1 and -1 for each label."""
        if self.task == "single_label":
            return F.one_hot(targets, self.width).float()
        return 2 * targets - 1


@torch.no_grad()
def _outputs(bench: Bench, *, factor: float) -> Tensor:
    """What the initial model, with its parameters times `factor`, gives for a few examples."""
    model = bench.make_model().eval()
    if factor != 1.0:
        for parameter in model.parameters():
            parameter.mul_(factor)
    given: Tensor = model(bench.sample(bench.data.train, 64).inputs)
    return given.float()


def _form(bench: Bench, given: Tensor) -> Form:
    """What the model gives, by identities that no logits satisfy."""
    if bench.outputs.task == "regression":
        return Form.LOGITS
    if bench.outputs.task == "single_label":
        if _all_close(given.logsumexp(1), 0):
            return Form.LOG_PROBABILITIES
        if _within_unit(given) and _all_close(given.sum(1), 1):
            return Form.PROBABILITIES
    # Small logits may lie between 0 and 1 by chance, but not when all weights grow.
    inside = bool((given > 0).all()) and bool((given < 1).all())
    return Form.UNIT if inside and _within_unit(_outputs(bench, factor=5.0)) else Form.LOGITS


def _all_close(values: Tensor, goal: float) -> bool:
    return bool(((values - goal).abs() < 1e-3).all())


def _within_unit(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
